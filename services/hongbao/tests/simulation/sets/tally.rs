//! What happened in all seeds together: days on which nothing moves would prove nothing.

use super::files::SETS;

#[derive(Debug, Default)]
pub struct Tally {
    pub seeds: u64,
    /// Migrations that came to their end, those of the beginning and of the end not counted.
    pub migrated: u64,
    /// Migrations that were refused, or died half way.
    pub ended: u64,
    /// Requests that a server refused because the envelope was not its own.
    pub misdirected: u64,
    /// Creations that were suspended between reading the fence and writing the row.
    pub suspended: u64,
    pub made: [u64; SETS.len()],
}

impl Tally {
    pub fn add(&mut self, other: &Tally) {
        self.seeds += other.seeds;
        self.migrated += other.migrated;
        self.ended += other.ended;
        self.misdirected += other.misdirected;
        self.suspended += other.suspended;
        for (made, others) in self.made.iter_mut().zip(other.made) {
            *made += others;
        }
    }

    /// One seed alone may be short of anything.
    pub fn check(&self) {
        println!("{self:?}");
        let enough = self.seeds / 2;
        let counts = [self.migrated, self.ended, self.misdirected, self.suspended];
        let is_full = counts.iter().chain(&self.made).all(|count| *count > enough);
        assert!(self.seeds < super::SEEDS || is_full, "too little happened: {self:?}");
    }
}
