//! Top-ups, which make the money of a run.

/// The most that one top-up may bring.
const TOP_UP_FEN_MAX: i64 = 1_000_000_000;

/// The bodies of the top-ups that bring a user so many fen. Another `run`, or another
/// `user` of it, makes other top-ups.
pub fn bodies(run: u32, user: u32, fen: i64) -> impl Iterator<Item = String> {
    let parts = (fen.max(0) as u64).div_ceil(TOP_UP_FEN_MAX as u64) as i64;
    (0..parts).map(move |part| {
        let amount_fen = (fen - part * TOP_UP_FEN_MAX).min(TOP_UP_FEN_MAX);
        format!(r#"{{"amount_fen":{amount_fen},"id":"{run:08x}-{part:04x}-4000-8000-{user:012x}"}}"#)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_top_up_cannot_bring_several_do() {
        let all: Vec<String> = bodies(1, 2, 2_000_000_005).collect();
        assert_eq!(all.len(), 3);
        assert_eq!(all[2], r#"{"amount_fen":5,"id":"00000001-0002-4000-8000-000000000002"}"#);
        assert_eq!((bodies(1, 2, 0).count(), bodies(1, 2, TOP_UP_FEN_MAX).count()), (0, 1));
    }
}
