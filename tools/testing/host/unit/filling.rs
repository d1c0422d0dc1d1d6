// SPDX-License-Identifier: GPL-2.0

use super::filling::{Filling, Written};

const START: i64 = 1;
const END: i64 = 4;

#[derive(Clone, Copy)]
struct Write {
    start: i64,
    end: i64,
    /// Up to here it comes.
    lands: i64,
}

/// A file of pages, each of which has the number of the write that it is of; and the window of a
/// read of some of them.
struct World {
    writes: [Write; 2],
    file: [u8; 6],
    opened: Option<u32>,
    begun: [u32; 2],
    time: u32,
    window: Vec<u8>,
    is_shut: bool,
}

impl World {
    fn new(writes: [Write; 2]) -> Self {
        Self {
            writes,
            file: [0; 6],
            opened: None,
            begun: [0; 2],
            time: 0,
            window: Vec::new(),
            is_shut: false,
        }
    }

    /// One step of a write: it begins, its data gets into the file, it ends.
    fn step(&mut self, number: usize, step: usize) {
        self.time += 1;
        let write = self.writes[number];
        match step {
            0 => self.begun[number] = self.time,
            1 => {
                for page in write.start..write.lands {
                    self.file[page as usize] = number as u8 + 1;
                }
            }
            _ => self.end(number),
        }
    }

    fn open(&mut self) {
        self.time += 1;
        self.opened = Some(self.time);
    }

    fn end(&mut self, number: usize) {
        let Some(opened) = self.opened.filter(|_| !self.is_shut) else {
            return;
        };
        let write = self.writes[number];
        let left = (END - START) as usize - self.window.len();
        let written = Written {
            start: write.start,
            end: write.end,
            is_whole: write.lands == write.end,
        };
        match Filling::of(START, END, left, written, opened < self.begun[number]) {
            Filling::Nothing => assert!(write.end <= START || END <= write.start),
            Filling::Shut => self.is_shut = true,
            Filling::Fill { skip, len } => {
                assert!(len > 0 && len <= left);
                let first = write.start + skip as i64;
                assert_eq!(first, START + self.window.len() as i64);
                assert!(first + len as i64 <= write.end);
                self.window.extend(vec![number as u8 + 1; len]);
            }
        }
    }

    fn is_full(&self) -> bool {
        !self.is_shut && self.window.len() == (END - START) as usize
    }

    fn check(&self) {
        if self.is_full() {
            let of_the_file = &self.file[START as usize..END as usize];
            assert_eq!(self.window, of_the_file, "reader and file differ");
        }
    }
}

/// Every order of the steps of two writes and of the opening of the window.
fn orders() -> Vec<Vec<usize>> {
    fn go(left: [usize; 3], order: &mut Vec<usize>, all: &mut Vec<Vec<usize>>) {
        if left == [0; 3] {
            all.push(order.clone());
        }
        for actor in 0..3 {
            if left[actor] > 0 {
                let mut left = left;
                left[actor] -= 1;
                order.push(actor);
                go(left, order, all);
                order.pop();
            }
        }
    }
    let mut all = Vec::new();
    go([3, 3, 1], &mut Vec::new(), &mut all);
    all
}

/// Whole writes, and such that stop before the end.
fn writes() -> Vec<Write> {
    let mut all = Vec::new();
    for start in 0..5 {
        for end in start + 1..6 {
            for lands in start..=end {
                all.push(Write { start, end, lands });
            }
        }
    }
    all
}

#[test]
fn a_full_window_has_what_the_file_has() {
    let (orders, writes) = (orders(), writes());
    assert_eq!(orders.len(), 140);
    let mut full = 0;
    for &first in &writes {
        for &second in &writes {
            for order in &orders {
                let mut world = World::new([first, second]);
                let mut steps = [0; 2];
                for &actor in order {
                    if actor == 2 {
                        world.open();
                    } else {
                        world.step(actor, steps[actor]);
                        steps[actor] += 1;
                    }
                }
                world.check();
                full += usize::from(world.is_full());
            }
        }
    }
    assert!(full > 0, "no window was ever full");
}

#[test]
fn a_window_is_filled_from_the_front() {
    let page = |number: i64| number * 4096;
    let write = |from: i64, to: i64| Written {
        start: page(from),
        end: page(to),
        is_whole: true,
    };
    let of = |left: usize, write| Filling::of(page(2), page(6), left * 4096, write, true);
    let fill = |skip: usize, len: usize| Filling::Fill {
        skip: skip * 4096,
        len: len * 4096,
    };
    assert_eq!(of(4, write(0, 8)), fill(2, 4));
    assert_eq!(of(4, write(2, 3)), fill(0, 1));
    assert_eq!(of(3, write(3, 6)), fill(0, 3));
    assert_eq!(of(3, write(3, 9)), fill(0, 3));
    // What is in front of it, or behind it, has nothing to do with it.
    assert_eq!(of(4, write(0, 2)), Filling::Nothing);
    assert_eq!(of(4, write(6, 7)), Filling::Nothing);
    // Not at the front; there already; in part there already; full already.
    assert_eq!(of(4, write(3, 6)), Filling::Shut);
    assert_eq!(of(3, write(2, 3)), Filling::Shut);
    assert_eq!(of(3, write(2, 6)), Filling::Shut);
    assert_eq!(of(0, write(5, 6)), Filling::Shut);
    // A write from before, and one that came short.
    let (late, short) = (write(2, 6), write(2, 6));
    let short = Written {
        is_whole: false,
        ..short
    };
    assert_eq!(
        Filling::of(page(2), page(6), 4 * 4096, late, false),
        Filling::Shut
    );
    assert_eq!(of(4, short), Filling::Shut);
    // The whole file, as far as there are numbers.
    let all = Written {
        start: 0,
        end: i64::MAX,
        is_whole: true,
    };
    assert_eq!(of(4, all), fill(2, 4));
}
