//! Damage that is the same in every run, so that a failure can be repeated.

/// xorshift64*.
pub struct Random(u64);

impl Random {
    /// `seed` is not 0.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).expect("below a usize")
    }

    pub fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[7]
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.byte()).collect()
    }

    /// One to four octets changed, or a piece cut out or doubled. Never the model itself, which is not empty.
    pub fn damage(&mut self, model: &[u8]) -> Vec<u8> {
        let mut damaged = model.to_vec();
        while damaged == model || damaged.is_empty() {
            damaged = model.to_vec();
            let at = self.below(damaged.len());
            let end = (at + 1 + self.below(40)).min(damaged.len());
            match self.below(6) {
                0 => drop(damaged.drain(at..end)),
                1 => {
                    let piece = damaged[at..end].to_vec();
                    damaged.splice(at..at, piece).for_each(drop);
                }
                _ => {
                    for _ in 0..=self.below(4) {
                        let at = self.below(damaged.len());
                        damaged[at] ^= 1 << self.below(8);
                    }
                }
            }
        }
        damaged
    }
}
