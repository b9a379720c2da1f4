//! A gateway: which SET it asks, by the file that it has.

use std::sync::Arc;

use hongbao_core::{Clock as _, EnvelopeId};
use rand::Rng as _;
use rand::rngs::StdRng;

use super::clock::ShiftedClock;
use super::files::File;

pub struct Gateway {
    file: Arc<File>,
    clock: ShiftedClock,
}

impl Gateway {
    /// One that is started with this file, whatever that is.
    pub fn start(file: &Arc<File>, clock: &ShiftedClock) -> Gateway {
        Gateway { file: file.clone(), clock: clock.clone() }
    }

    pub fn mint(&self, dice: &mut StdRng) -> EnvelopeId {
        EnvelopeId::mint(self.clock.now(), dice.random())
    }

    pub fn set_of(&self, id: EnvelopeId) -> usize {
        self.file.set_of(id)
    }

    /// A file is there while it runs. It takes it over by the rules of the service; after a server has refused an id
    /// the fences see to most of them.
    pub fn see(&mut self, file: &Arc<File>, is_fenced: bool) {
        let (was, is) = (&self.file.topology, &file.topology);
        let is_newer = is.version > was.version;
        if is_newer && is.check_follows(was, self.clock.now(), is_fenced).is_ok() {
            self.file = file.clone();
        }
    }
}
