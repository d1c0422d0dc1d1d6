// SPDX-License-Identifier: GPL-2.0

//! `lib/xarray.c`, by its promises.

use crate::sched;
use crate::{gfp_t, EBUSY, ENOMEM, GFP_ATOMIC, GFP_KERNEL, GFP_KERNEL_ACCOUNT, GFP_NOWAIT};
use core::ffi::{c_char, c_int, c_void, CStr};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::task::Waker;

/// `struct xarray`: the place in the table.
#[repr(C)]
pub struct xarray {
    place: usize,
}

pub type xa_mark_t = u32;

/// `struct xa_limit`
#[repr(C)]
#[derive(Clone, Copy)]
pub struct xa_limit {
    pub max: u32,
    pub min: u32,
}

/// As the kernel's crates see it.
type c_ulong = usize;

pub(crate) const XA_PRESENT: xa_mark_t = 8;

struct Slot {
    entry: *mut c_void,
    marks: u32,
}

#[derive(Default)]
pub(crate) struct Array {
    /// Only numbers are given out, which are nobody else's business: no points.
    quiet: bool,
    slots: BTreeMap<usize, Slot>,
    owner: Option<usize>,
    waiting: Vec<Waker>,
}

impl Array {
    /// The first entry from `from` to `max` that has the mark.
    pub(crate) fn find(
        &self,
        from: usize,
        max: usize,
        mark: xa_mark_t,
    ) -> Option<(usize, *mut c_void)> {
        if from > max {
            return None;
        }
        let mut slots = self.slots.range(from..=max);
        let found = slots.find(|(_, slot)| {
            let passes = mark == XA_PRESENT || slot.marks & (1 << mark) != 0;
            passes && !slot.entry.is_null()
        });
        found.map(|(at, slot)| (*at, slot.entry))
    }

    /// False where the slot is taken.
    pub(crate) fn insert(&mut self, at: usize, entry: *mut c_void) -> bool {
        let free = !self.slots.contains_key(&at);
        if free {
            self.slots.insert(at, Slot { entry, marks: 0 });
            sched::note("inserts", at as u64);
        }
        free
    }
}

std::thread_local! {
    static ARRAYS: RefCell<Vec<Array>> = RefCell::default();
    /// What was done to arrays since one was locked, and the most of it so far.
    static STEPS: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

pub(crate) fn reset() {
    ARRAYS.with_borrow_mut(Vec::clear);
    forget_steps();
}

/// The most that was done to an array (look-ups, steps of a walk, changes) for one time that it was
/// locked.
pub fn most_steps() -> usize {
    STEPS.get().1
}

/// Counts anew.
pub fn forget_steps() {
    STEPS.set((0, 0));
}

/// # Safety
///
/// `xa` is initialised.
pub(crate) unsafe fn with<R>(xa: *const xarray, f: impl FnOnce(&mut Array) -> R) -> R {
    // SAFETY: The caller's promise.
    let place = unsafe { (*xa).place };
    ARRAYS.with_borrow_mut(|arrays| f(&mut arrays[place]))
}

/// # Safety
///
/// `xa` is initialised.
pub(crate) unsafe fn assert_locked(xa: *const xarray) {
    if std::thread::panicking() {
        return;
    }
    // SAFETY: The caller's promise.
    let owner = unsafe { with(xa, |array| array.owner) };
    assert_eq!(owner, Some(sched::current()), "the xarray is not locked");
    let (steps, most) = STEPS.get();
    STEPS.set((steps + 1, most.max(steps + 1)));
}

pub unsafe fn cfh_xa_init_alloc(xa: *mut xarray, name: *const c_char, _key: *mut c_void) {
    // SAFETY: The caller gives a C string.
    let quiet = unsafe { CStr::from_ptr(name) } == c"cyclic_ids";
    let place = ARRAYS.with_borrow_mut(|arrays| {
        arrays.push(Array {
            quiet,
            ..Array::default()
        });
        arrays.len() - 1
    });
    // SAFETY: The caller's place is valid for writes.
    unsafe { xa.write(xarray { place }) };
}

pub unsafe fn cfh_xa_lock(xa: *mut xarray) {
    // SAFETY: Initialised, as the caller says.
    unsafe {
        point(xa);
        lock(xa);
    }
}

/// # Safety
///
/// `xa` is initialised.
unsafe fn point(xa: *const xarray) {
    // SAFETY: The caller's promise.
    if unsafe { with(xa, |array| !array.quiet) } {
        sched::point();
    }
}

/// # Safety
///
/// `xa` is initialised.
unsafe fn lock(xa: *mut xarray) {
    if std::thread::panicking() {
        return;
    }
    let me = sched::current();
    sched::wait_until(|waker| {
        // SAFETY: The caller's promise.
        unsafe {
            with(xa, |array| {
                assert_ne!(array.owner, Some(me), "locked twice by one task");
                if array.owner.is_some() {
                    array.waiting.push(waker.clone());
                    return None;
                }
                array.owner = Some(me);
                Some(())
            })
        }
    });
    sched::enter_atomic();
    STEPS.set((0, most_steps()));
}

pub unsafe fn cfh_xa_unlock(xa: *mut xarray) {
    if std::thread::panicking() {
        return;
    }
    // SAFETY: Initialised, as the caller says.
    unsafe { assert_locked(xa) };
    sched::leave_atomic();
    // SAFETY: Initialised, as the caller says.
    let waiting = unsafe {
        with(xa, |array| {
            array.owner = None;
            std::mem::take(&mut array.waiting)
        })
    };
    waiting.into_iter().for_each(Waker::wake);
}

pub unsafe fn cfh_xa_marked(xa: *const xarray, mark: xa_mark_t) -> bool {
    sched::point();
    // SAFETY: Initialised, as the caller says.
    unsafe {
        with(xa, |array| {
            array
                .slots
                .values()
                .any(|slot| slot.marks & (1 << mark) != 0)
        })
    }
}

pub unsafe fn xa_load(xa: *mut xarray, index: c_ulong) -> *mut c_void {
    // SAFETY: Initialised, as the caller says.
    unsafe {
        assert_locked(xa);
        with(xa, |array| {
            let slot = array.slots.get(&index);
            slot.map_or(core::ptr::null_mut(), |slot| slot.entry)
        })
    }
}

pub unsafe fn xa_find(
    xa: *mut xarray,
    index: *mut c_ulong,
    max: c_ulong,
    filter: xa_mark_t,
) -> *mut c_void {
    // SAFETY: Initialised, as the caller says, who also gives a valid place for the index.
    unsafe {
        let from = *index;
        let Some((at, entry)) = with(xa, |array| array.find(from, max, filter)) else {
            return core::ptr::null_mut();
        };
        *index = at;
        entry
    }
}

pub unsafe fn __xa_erase(xa: *mut xarray, index: c_ulong) -> *mut c_void {
    // SAFETY: Initialised, as the caller says.
    unsafe {
        assert_locked(xa);
        erase(xa, index)
    }
}

pub unsafe fn xa_erase(xa: *mut xarray, index: c_ulong) -> *mut c_void {
    // SAFETY: Initialised, as the caller says.
    unsafe {
        point(xa);
        erase(xa, index)
    }
}

/// # Safety
///
/// `xa` is initialised.
unsafe fn erase(xa: *mut xarray, index: c_ulong) -> *mut c_void {
    sched::note("erases", index as u64);
    // SAFETY: The caller's promise.
    unsafe {
        with(xa, |array| {
            let slot = array.slots.remove(&index);
            slot.map_or(core::ptr::null_mut(), |slot| slot.entry)
        })
    }
}

pub unsafe fn __xa_set_mark(xa: *mut xarray, index: c_ulong, mark: xa_mark_t) {
    sched::note("marks", index as u64);
    // SAFETY: Initialised, as the caller says.
    unsafe {
        assert_locked(xa);
        with(xa, |array| {
            if let Some(slot) = array.slots.get_mut(&index) {
                slot.marks |= 1 << mark;
            }
        });
    }
}

pub unsafe fn __xa_clear_mark(xa: *mut xarray, index: c_ulong, mark: xa_mark_t) {
    sched::note("unmarks", index as u64);
    // SAFETY: Initialised, as the caller says.
    unsafe {
        assert_locked(xa);
        with(xa, |array| {
            if let Some(slot) = array.slots.get_mut(&index) {
                slot.marks &= !(1 << mark);
            }
        });
    }
}

/// Where it may sleep it lets go of the lock each time, though C does so only when it is out of
/// nodes: what may happen then includes what happens otherwise.
pub unsafe fn __xa_alloc_cyclic(
    xa: *mut xarray,
    id: *mut u32,
    entry: *mut c_void,
    limit: xa_limit,
    next: *mut u32,
    gfp: gfp_t,
) -> c_int {
    let may_sleep = match gfp {
        GFP_KERNEL | GFP_KERNEL_ACCOUNT => true,
        GFP_ATOMIC | GFP_NOWAIT => false,
        other => panic!("allocation flags {other}"),
    };
    // SAFETY: Initialised, and `id` and `next` are valid places, as the caller says.
    unsafe {
        assert_locked(xa);
        if may_sleep {
            cfh_xa_unlock(xa);
            sched::may_sleep();
            cfh_xa_lock(xa);
        }
        if crate::alloc_fails() {
            return -ENOMEM;
        }
        with(xa, |array| {
            let is_free = |at: &u32| !array.slots.contains_key(&(*at as usize));
            let free = (*next..=limit.max).find(is_free);
            let free = free.or_else(|| (limit.min..=limit.max).find(is_free));
            let Some(at) = free else {
                return -EBUSY;
            };
            array.insert(at as usize, entry);
            *id = at;
            *next = at.wrapping_add(1);
            0
        })
    }
}

pub unsafe fn xa_destroy(xa: *mut xarray) {
    // SAFETY: Initialised, as the caller says.
    unsafe { with(xa, |array| array.slots.clear()) };
}
