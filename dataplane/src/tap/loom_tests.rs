//! A model of the sample ring: a worker puts in what fits, the control thread takes out.

use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::sync::explore;

fn sample(number: u32) -> Sample {
    Sample::new(number, u64::from(number), &[number as u8; SNAP], 60 + number)
}

#[test]
fn samples_come_out_whole_in_order_and_once() {
    explore(|| {
        let ring = Arc::new(Ring::new().expect("memory"));
        let worker = {
            let ring = Arc::clone(&ring);
            thread::spawn(move || (1..=4).filter(|&number| ring.push(&sample(number))).collect::<Vec<u32>>())
        };
        let mut taken: Vec<Sample> = (0..2).filter_map(|_| ring.pop()).collect();
        let in_time = taken.len();
        let kept = worker.join().expect("the worker");
        assert!(kept.starts_with(&[1, 2]), "there was room for these: {kept:?}");
        assert!(kept.len() <= RING + in_time, "more than there was room for: {kept:?}");
        taken.extend(std::iter::from_fn(|| ring.pop()).take(5));
        assert_eq!(taken, kept.into_iter().map(sample).collect::<Vec<_>>());
        assert_eq!(ring.pop(), None, "empty");
    });
}
