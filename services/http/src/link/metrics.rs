//! What is counted of links, on both sides.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// The links of a process. What comes or goes at once costs two additions, however many
/// frames it is.
#[derive(Debug, Default)]
pub struct LinkMetrics {
    open: AtomicU64,
    refused: AtomicU64,
    broken: AtomicU64,
    received: Traffic,
    sent: Traffic,
}

#[derive(Debug, Default)]
struct Traffic {
    frames: AtomicU64,
    batches: AtomicU64,
}

impl Traffic {
    fn batch(&self, frames: u64) {
        self.frames.fetch_add(frames, Ordering::Relaxed);
        self.batches.fetch_add(1, Ordering::Relaxed);
    }
}

impl LinkMetrics {
    /// Counts a link that is open from now on.
    pub fn opened(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one of them that has ended.
    pub fn ended(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a link that was refused.
    pub fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a link that broke: it ended with something unanswered, or by bytes that are no frame.
    pub fn broken(&self) {
        self.broken.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the frames that one read has completed.
    pub fn received(&self, frames: u64) {
        self.received.batch(frames);
    }

    /// Counts the frames that were handed to one write.
    pub fn sent(&self, frames: u64) {
        self.sent.batch(frames);
    }

    /// The links that are open.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Relaxed)
    }

    /// Writes `{prefix}_links` and its companions.
    pub fn encode(&self, prefix: &str, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let name = format!("{prefix}_links");
        let open = ConstGauge::new(self.open());
        let help = "Links that are open.";
        open.encode(encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?)?;
        for (name, help, count) in [
            ("links_refused", "Links that the server refused.", &self.refused),
            ("links_broken", "Links that broke.", &self.broken),
        ] {
            let name = format!("{prefix}_{name}");
            let count = ConstCounter::new(count.load(Ordering::Relaxed));
            count.encode(encoder.encode_descriptor(&name, help, None, MetricType::Counter)?)?;
        }
        for (name, help, of) in [
            ("link_frames", "Frames on links.", (|traffic| &traffic.frames) as fn(&Traffic) -> &AtomicU64),
            ("link_batches", "Reads that completed frames, and batches of frames that were written.", |traffic| {
                &traffic.batches
            }),
        ] {
            let name = format!("{prefix}_{name}");
            let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
            for (direction, traffic) in [("received", &self.received), ("sent", &self.sent)] {
                let count = ConstCounter::new(of(traffic).load(Ordering::Relaxed));
                count.encode(family.encode_family(&[("direction", direction)])?)?;
            }
        }
        Ok(())
    }
}
