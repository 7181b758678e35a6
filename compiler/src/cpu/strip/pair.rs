//! Elements at every second place, where both halves of the pairs are wanted: two vectors are loaded and taken apart, or put
//! together and stored.

use super::body::{Arg, Body, Class, Constant, Inst, Kind, Stream};
use super::encode::Op;
use super::table::*;
use smallvec::SmallVec;

impl Body {
    /// Whether any stream is of pairs.
    pub fn has_pairs(&self) -> bool {
        self.streams.iter().any(|s| s.pair)
    }

    /// The first and the second elements of the pairs of a stream.
    pub fn load_pair(&mut self, stream: u32) -> [Arg; 2] {
        let halves = [0, 1].map(|half| {
            let to = Arg::Value(self.value(Class::Word));
            self.half(&LOAD_PS, Kind::LoadHalf(stream, half), Some(to), None);
            to
        });
        let lanes = usize::from(self.lanes);
        // The even ones of both, by fours: half a four from each vector.
        let order: Vec<usize> = (0..lanes).map(|i| 4 * (i % (lanes / 2) / 2) + 2 * (i / (lanes / 2)) + i % 2).collect();
        [0x88, 0xdd].map(|which| {
            let mixed = self.coded(&SHUFFLE_2D, Class::Word, &halves, which);
            self.reordered(mixed, &order)
        })
    }

    /// Stores pairs to a stream.
    pub fn store_pair(&mut self, stream: u32, pair: [Arg; 2]) {
        let lanes = usize::from(self.lanes);
        let order: Vec<usize> = (0..lanes).map(|i| 2 * (i / 4) + (lanes / 2) * (i % 4 / 2) + i % 2).collect();
        let [first, second] = pair.map(|x| {
            let x = self.spread(Class::Word, x);
            self.reordered(x, &order)
        });
        let halves = [&UNPACK_LOW_PS, &UNPACK_HIGH_PS].map(|op| self.plain(op, Class::Word, &[first, second]));
        for (half, x) in halves.into_iter().enumerate() {
            self.half(&STORE_PS, Kind::StoreHalf(stream, half as u8), None, Some(x));
        }
    }

    fn half(&mut self, op: &'static Op, kind: Kind, to: Option<Arg>, stored: Option<Arg>) {
        let (bytes, args) = (self.bytes(Class::Word), SmallVec::from_iter(stored));
        self.push(Inst { op, kind, bytes, to, args, mask: None, imm: None });
    }

    /// The lanes of `x` in another order.
    fn reordered(&mut self, x: Arg, order: &[usize]) -> Arg {
        if order.iter().copied().eq(0..order.len()) {
            return x;
        }
        let lanes = order.iter().map(|&i| i as u64).collect();
        let order = self.pooled(Constant { lanes, element: 4 });
        self.plain(&PERMUTE_PS, Class::Word, &[order, x])
    }
}

impl Stream {
    /// Elements in memory for each index.
    pub fn step(&self) -> usize {
        1 + usize::from(self.pair)
    }
}
