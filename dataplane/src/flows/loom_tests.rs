//! A model of a line: its worker begins another epoch while a reader looks, in every order that the memory model allows.

use loom::sync::Arc;
use loom::thread;

use super::*;
use crate::sync::explore;

/// What the worker wrote under the first tag, and under the second one.
const WORDS_OF: [u64; 2] = [0x1111, 0x2222];

#[test]
fn a_line_is_read_under_its_own_tag_alone() {
    explore(|| {
        let line = Arc::new(Line::default());
        line.begin(1);
        line.words[0].store(WORDS_OF[0], Ordering::Relaxed);
        let worker = {
            let line = Arc::clone(&line);
            thread::spawn(move || {
                line.begin(2);
                line.words[0].store(WORDS_OF[1], Ordering::Relaxed);
            })
        };
        if let Some(old) = line.read(1) {
            assert_eq!(old.0, [WORDS_OF[0]], "under the first tag");
        }
        if let Some(new) = line.read(2) {
            assert!(new.0 == [0] || new.0 == [WORDS_OF[1]], "{new:?} under the second tag");
        }
        worker.join().expect("the worker");
        assert_eq!(line.read(2), Some(Registers([WORDS_OF[1]])));
    });
}
