// SPDX-License-Identifier: GPL-2.0

//! `kernel_ext::miscdevice` and `kernel_ext::sync::WaitQueue`: a device that is opened and polled,
//! by its node.

use core::num::NonZeroU32;
use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use kernel::prelude::*;
use kernel::sync::{Arc, ArcBorrow};
use kernel::types::ARef;
use kernel::uaccess::{UserSliceReader, UserSliceWriter};
use kernel_ext::fs::File;
use kernel_ext::miscdevice::{MiscDevice, MiscDeviceRegistration};
use kernel_ext::sync::{poll, WaitQueue};
use kunit::{ensure, ensure_eq, flush_closed_files, users_of_this_module};
use kunit::{foreign_module, Outcome, Poller, SpinCell};

kunit::suite!(
    "kernel_ext_device",
    [
        opening_and_closing_are_told_once_each,
        an_open_file_keeps_the_module,
        an_open_that_is_refused_keeps_nothing,
        an_open_file_outlives_its_device,
        the_device_of_another_module_is_refused,
        a_poll_tells_what_is_ready,
        nothing_that_happens_during_a_poll_is_missed,
        all_who_poll_are_woken,
        of_the_exclusive_ones_as_many_as_is_said_are_woken,
        nobody_is_woken_for_another_event,
        a_wake_up_is_not_spent_on_one_who_wants_another_event,
        one_who_has_gone_is_not_woken,
        a_wake_up_without_anybody_does_nothing,
    ]
);

/// What the device keeps: one for each test.
#[pin_data]
struct Board {
    #[pin]
    queue: WaitQueue,
    ready: AtomicU32,
    refuses: AtomicBool,
    wakes_in_poll: AtomicBool,
    opened: AtomicU32,
    released: AtomicU32,
}

static BOARD: SpinCell<Board> = SpinCell::new();

struct Device;

impl MiscDevice for Device {
    type Data = Board;

    fn open() -> Result<Arc<Board>> {
        let board = BOARD.get().ok_or(ENXIO)?;
        if board.refuses.load(Ordering::SeqCst) {
            return Err(EBUSY);
        }
        board.opened.fetch_add(1, Ordering::SeqCst);
        Ok(board)
    }

    fn release(board: Arc<Board>) {
        board.released.fetch_add(1, Ordering::SeqCst);
    }

    fn read(_: ArcBorrow<'_, Board>, _: UserSliceWriter) -> Result<usize> {
        Err(EIO)
    }

    fn write(_: ArcBorrow<'_, Board>, _: UserSliceReader) -> Result<usize> {
        Err(EIO)
    }

    fn wait_queue(board: &Board) -> &WaitQueue {
        &board.queue
    }

    fn poll(board: ArcBorrow<'_, Board>) -> u32 {
        if board.wakes_in_poll.load(Ordering::SeqCst) {
            board.queue.wake_up_all();
        }
        board.ready.load(Ordering::SeqCst)
    }
}

/// A registered device. Files of it are to be dropped before this.
struct Bench {
    board: Arc<Board>,
    device: Option<Pin<KBox<MiscDeviceRegistration<Device>>>>,
}

impl Bench {
    fn new() -> Outcome<Self> {
        let board = Arc::pin_init(
            pin_init!(Board {
                queue <- WaitQueue::new(),
                ready: AtomicU32::new(0),
                refuses: AtomicBool::new(false),
                wakes_in_poll: AtomicBool::new(false),
                opened: AtomicU32::new(0),
                released: AtomicU32::new(0),
            }),
            GFP_KERNEL,
        )?;
        BOARD.set(Some(board.clone()));
        let mut bench = Self {
            board,
            device: None,
        };
        let name = kernel::c_str!("kunit_cachefiles");
        let device = MiscDeviceRegistration::register(name, &crate::THIS_MODULE);
        bench.device = Some(KBox::pin_init(device, GFP_KERNEL)?);
        Ok(bench)
    }

    fn open(&self) -> Result<ARef<File>> {
        kunit::open(kernel::c_str!("/dev/kunit_cachefiles"))
    }

    fn counts(&self) -> (u32, u32) {
        let opened = self.board.opened.load(Ordering::SeqCst);
        (opened, self.board.released.load(Ordering::SeqCst))
    }

    fn wake(&self, events: u32, count: u32) {
        let count = NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
        self.board.queue.wake_up_poll(events, count);
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        flush_closed_files();
        BOARD.set(None);
    }
}

/// How often each was woken.
fn wakeups<const N: usize>(pollers: &[Poller; N]) -> [i32; N] {
    core::array::from_fn(|i| pollers[i].wakeups())
}

fn opening_and_closing_are_told_once_each() -> Outcome {
    let bench = Bench::new()?;
    let first = bench.open()?;
    let second = bench.open()?;
    let same: ARef<File> = (&*first).into();
    ensure_eq!(bench.counts(), (2, 0));
    drop(first);
    flush_closed_files();
    ensure_eq!(bench.counts(), (2, 0));
    drop(same);
    flush_closed_files();
    ensure_eq!(bench.counts(), (2, 1));
    drop(second);
    flush_closed_files();
    ensure_eq!(bench.counts(), (2, 2));
    Ok(())
}

fn an_open_file_keeps_the_module() -> Outcome {
    let before = users_of_this_module();
    let bench = Bench::new()?;
    ensure_eq!(users_of_this_module(), before);
    let file = bench.open()?;
    ensure_eq!(users_of_this_module(), before + 1);
    drop(file);
    flush_closed_files();
    ensure_eq!(users_of_this_module(), before);
    Ok(())
}

fn an_open_that_is_refused_keeps_nothing() -> Outcome {
    let before = users_of_this_module();
    let bench = Bench::new()?;
    bench.board.refuses.store(true, Ordering::SeqCst);
    ensure_eq!(bench.open().err(), Some(EBUSY));
    flush_closed_files();
    ensure_eq!(bench.counts(), (0, 0));
    ensure_eq!(users_of_this_module(), before);
    Ok(())
}

fn an_open_file_outlives_its_device() -> Outcome {
    let mut bench = Bench::new()?;
    let file = bench.open()?;
    drop(bench.device.take());
    ensure_eq!(bench.open().err(), Some(ENOENT));
    let poller = Poller::new(&file, poll::IN)?;
    bench.board.queue.wake_up_all();
    ensure_eq!(poller.wakeups(), 1);
    drop(poller);
    drop(file);
    flush_closed_files();
    ensure_eq!(bench.counts(), (1, 1));
    Ok(())
}

fn the_device_of_another_module_is_refused() -> Outcome {
    let name = kernel::c_str!("kunit_foreign");
    let device = MiscDeviceRegistration::<Device>::register(name, foreign_module());
    ensure_eq!(KBox::pin_init(device, GFP_KERNEL).err(), Some(EINVAL));
    let found = kunit::open(kernel::c_str!("/dev/kunit_foreign"));
    ensure_eq!(found.err(), Some(ENOENT));
    Ok(())
}

fn a_poll_tells_what_is_ready() -> Outcome {
    let bench = Bench::new()?;
    let file = bench.open()?;
    for ready in [0, poll::IN, poll::OUT, poll::ERR, poll::IN | poll::OUT] {
        bench.board.ready.store(ready, Ordering::SeqCst);
        let poller = Poller::new(&file, poll::IN | poll::OUT)?;
        ensure_eq!(poller.ready(), ready);
        // Whatever is ready, it is in the queue.
        ensure!(poller.waits());
        ensure_eq!(poller.wakeups(), 0);
    }
    Ok(())
}

fn nothing_that_happens_during_a_poll_is_missed() -> Outcome {
    let bench = Bench::new()?;
    let file = bench.open()?;
    bench.board.wakes_in_poll.store(true, Ordering::SeqCst);
    let poller = Poller::new(&file, poll::IN)?;
    ensure_eq!(poller.wakeups(), 1);
    Ok(())
}

fn all_who_poll_are_woken() -> Outcome {
    let bench = Bench::new()?;
    let file = bench.open()?;
    let pollers = [
        Poller::new(&file, poll::IN)?,
        Poller::exclusive(&file, poll::IN)?,
        Poller::new(&file, poll::OUT)?,
        Poller::exclusive(&file, poll::OUT)?,
        Poller::exclusive(&file, poll::IN)?,
    ];
    bench.board.queue.wake_up_all();
    ensure_eq!(wakeups(&pollers), [1; 5]);
    bench.board.queue.wake_up_all();
    ensure_eq!(wakeups(&pollers), [2; 5]);
    Ok(())
}

fn of_the_exclusive_ones_as_many_as_is_said_are_woken() -> Outcome {
    let bench = Bench::new()?;
    let file = bench.open()?;
    let plain = [Poller::new(&file, poll::IN)?, Poller::new(&file, poll::IN)?];
    let exclusive = [
        Poller::exclusive(&file, poll::IN)?,
        Poller::exclusive(&file, poll::IN)?,
        Poller::exclusive(&file, poll::IN)?,
        Poller::exclusive(&file, poll::IN)?,
    ];
    let mut expected = 0;
    for (turn, count) in (1..).zip([1, 3, 2, 4, 5, u32::MAX]) {
        bench.wake(poll::IN, count);
        expected += count.min(4) as i32;
        ensure_eq!(wakeups(&exclusive).iter().sum::<i32>(), expected);
        // The others are woken each time.
        ensure_eq!(wakeups(&plain), [turn; 2]);
    }
    Ok(())
}

fn nobody_is_woken_for_another_event() -> Outcome {
    let bench = Bench::new()?;
    let file = bench.open()?;
    let pollers = [
        Poller::new(&file, poll::IN)?,
        Poller::new(&file, poll::OUT)?,
        Poller::new(&file, poll::IN | poll::OUT)?,
    ];
    bench.wake(poll::IN, 1);
    ensure_eq!(wakeups(&pollers), [1, 0, 1]);
    bench.wake(poll::OUT, 1);
    ensure_eq!(wakeups(&pollers), [1, 1, 2]);
    bench.wake(poll::IN | poll::ERR, 1);
    ensure_eq!(wakeups(&pollers), [2, 1, 3]);
    Ok(())
}

fn a_wake_up_is_not_spent_on_one_who_wants_another_event() -> Outcome {
    let bench = Bench::new()?;
    let file = bench.open()?;
    let pollers = [
        Poller::exclusive(&file, poll::OUT)?,
        Poller::exclusive(&file, poll::IN)?,
        Poller::exclusive(&file, poll::OUT)?,
    ];
    bench.wake(poll::IN, 1);
    ensure_eq!(wakeups(&pollers), [0, 1, 0]);
    Ok(())
}

fn one_who_has_gone_is_not_woken() -> Outcome {
    let bench = Bench::new()?;
    let file = bench.open()?;
    let gone = Poller::exclusive(&file, poll::IN)?;
    let stays = Poller::exclusive(&file, poll::IN)?;
    drop(gone);
    bench.wake(poll::IN, 1);
    ensure_eq!(stays.wakeups(), 1);
    Ok(())
}

fn a_wake_up_without_anybody_does_nothing() -> Outcome {
    let bench = Bench::new()?;
    let file = bench.open()?;
    bench.wake(poll::IN, 1);
    bench.board.queue.wake_up_all();
    // Nor is it kept for one who comes later.
    let poller = Poller::new(&file, poll::IN)?;
    ensure_eq!(poller.wakeups(), 0);
    Ok(())
}
