//! Which target is requested next.

use std::cell::Cell;

use clap::{Args, ValueEnum};

/// How targets follow each other.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Order {
    /// Always the same
    Same,
    /// A number is appended that never comes again
    Distinct,
    /// The numbers up to --keys, each once; then the run is over
    Each,
    /// The numbers up to --keys, by Zipf's law with exponent 1
    Zipf,
}

/// The targets of a run.
#[derive(Args, Clone)]
pub struct Shape {
    /// The target; `{}` is where the number goes
    #[arg(long)]
    pub path: String,
    /// How targets follow each other
    #[arg(long, value_enum, default_value = "same")]
    pub order: Order,
    /// How many targets there are
    #[arg(long, default_value_t = 1)]
    pub keys: usize,
    /// The first number
    #[arg(long, default_value_t = 0)]
    pub first: u64,
}

/// Gives one target after another.
pub struct Targets {
    shape: Shape,
    next: Cell<u64>,
    /// For Zipf's law: the sums of 1/rank.
    sums: Vec<f64>,
}

impl Targets {
    /// The targets of `shape`.
    pub fn new(shape: &Shape) -> Self {
        let keys = if shape.order == Order::Zipf { shape.keys } else { 0 };
        let sums = (1..=keys).scan(0.0, |sum, rank| {
            *sum += 1.0 / rank as f64;
            Some(*sum)
        });
        Self { shape: shape.clone(), next: Cell::new(shape.first), sums: sums.collect() }
    }

    /// Writes the next target; false when there is none.
    pub fn write(&self, out: &mut Vec<u8>) -> bool {
        let number = match self.shape.order {
            Order::Same => self.shape.first,
            Order::Each if self.next.get() - self.shape.first >= self.shape.keys as u64 => return false,
            Order::Distinct | Order::Each => {
                let number = self.next.get();
                self.next.set(number + 1);
                number
            }
            Order::Zipf => {
                let sum = self.sums.last().copied().unwrap_or_default() * fastrand::f64();
                let rank = self.sums.partition_point(|below| *below < sum);
                // Neighbours in rank must not be neighbours in the cache: 7919 is prime.
                self.shape.first + rank as u64 * 7919 % self.shape.keys as u64
            }
        };
        match self.shape.path.split_once("{}") {
            None => out.extend_from_slice(self.shape.path.as_bytes()),
            Some((before, after)) => {
                out.extend_from_slice(before.as_bytes());
                out.extend_from_slice(number.to_string().as_bytes());
                out.extend_from_slice(after.as_bytes());
            }
        }
        true
    }
}
