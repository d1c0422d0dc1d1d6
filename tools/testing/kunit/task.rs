// SPDX-License-Identifier: GPL-2.0

//! `kernel_ext::task`: the running task, and time.

use kernel::prelude::*;
use kernel::sync::Arc;
use kernel_ext::sync::Completion;
use kernel_ext::task::{
    current_name, jiffies, real_seconds, synchronize_rcu, synchronize_rcu_tasks,
};
use kunit::{ensure, ensure_eq, spawn, wait_until, Outcome};

kunit::suite!(
    "kernel_ext_task",
    [
        a_task_knows_its_name,
        ticks_go_on,
        seconds_go_on,
        a_grace_period_ends_while_others_sleep,
        a_grace_period_of_tasks_ends_while_others_sleep,
    ]
);

fn a_task_knows_its_name() -> Outcome {
    let name = spawn(current_name)?.join()?;
    ensure_eq!(name, *b"kunit_helper\0\0\0\0");
    Ok(())
}

fn ticks_go_on() -> Outcome {
    let begin = jiffies();
    wait_until("two more ticks", || jiffies().wrapping_sub(begin) >= 2)?;
    Ok(())
}

fn seconds_go_on() -> Outcome {
    let begin = real_seconds();
    ensure!(begin > 0);
    wait_until("another second", || real_seconds() > begin)?;
    Ok(())
}

fn a_grace_period_ends_while_others_sleep() -> Outcome {
    ends_while_others_sleep(synchronize_rcu)
}

fn a_grace_period_of_tasks_ends_while_others_sleep() -> Outcome {
    ends_while_others_sleep(synchronize_rcu_tasks)
}

fn ends_while_others_sleep(wait: fn()) -> Outcome {
    let end = Arc::pin_init(Completion::new(), GFP_KERNEL)?;
    let theirs = end.clone();
    let sleeper = spawn(move || theirs.wait_killable())?;
    sleeper.wait_until_killably_asleep()?;
    wait();
    ensure!(!sleeper.is_done());
    end.complete_all();
    sleeper.join()??;
    Ok(())
}
