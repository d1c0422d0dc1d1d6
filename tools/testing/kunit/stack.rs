// SPDX-License-Identifier: GPL-2.0

//! `kernel_ext::sync::Stack`: what many add to, and one takes.

use crate::live_count::LiveCount;
use kernel::prelude::*;
use kernel::sync::Arc;
use kernel_ext::sync::{Stack, StackNode};
use kunit::{ensure, ensure_eq, spawn, Outcome};

kunit::suite!(
    "kernel_ext_stack",
    [
        values_come_out_in_the_order_in_which_they_came,
        what_is_left_is_dropped,
        nothing_is_lost_between_threads,
    ]
);

fn node<T>(value: T) -> Result<KBox<StackNode<T>>> {
    Ok(KBox::new(StackNode::new(value), GFP_KERNEL)?)
}

fn values_come_out_in_the_order_in_which_they_came() -> Outcome {
    let (stack, other) = (Stack::new(), Stack::new());
    ensure!(stack.take().next().is_none());
    for number in 0..5 {
        stack.push(node(number)?);
    }
    let mut expected = 0;
    for node in stack.take() {
        ensure_eq!(**node, expected);
        expected += 1;
        other.push(node);
    }
    ensure_eq!(expected, 5);
    ensure!(stack.take().next().is_none());
    let first = other.take().next();
    ensure_eq!(
        first.map(|node| KBox::into_inner(node).into_inner()),
        Some(0)
    );
    Ok(())
}

fn what_is_left_is_dropped() -> Outcome {
    let live = LiveCount::new()?;
    let stack = Stack::new();
    for _ in 0..10_000 {
        stack.push(node(live.one_more())?);
    }
    ensure_eq!(live.alive(), 10_000);
    let mut chain = stack.take();
    drop(chain.next());
    ensure_eq!(live.alive(), 9_999);
    drop(chain);
    ensure_eq!(live.alive(), 0);
    stack.push(node(live.one_more())?);
    drop(stack);
    ensure_eq!(live.alive(), 0);
    Ok(())
}

fn nothing_is_lost_between_threads() -> Outcome {
    const EACH: u32 = 200;
    let stack = Arc::new(Stack::new(), GFP_KERNEL)?;
    let mut threads = KVec::with_capacity(3, GFP_KERNEL)?;
    for _ in 0..3 {
        let stack = stack.clone();
        let work = move || {
            for number in 0..EACH {
                match node(number) {
                    Ok(node) => stack.push(node),
                    Err(_) => return false,
                }
            }
            true
        };
        threads.push(spawn(work)?, GFP_KERNEL)?;
    }
    let (mut count, mut sum) = (0, 0);
    let mut tries = 0;
    while count < 3 * EACH && tries < 1_000_000 {
        for node in stack.take() {
            count += 1;
            sum += **node;
        }
        tries += 1;
        kernel_ext::task::cond_resched();
    }
    for thread in threads {
        ensure!(thread.join()?);
    }
    for node in stack.take() {
        count += 1;
        sum += **node;
    }
    ensure_eq!((count, sum), (3 * EACH, 3 * EACH * (EACH - 1) / 2));
    Ok(())
}
