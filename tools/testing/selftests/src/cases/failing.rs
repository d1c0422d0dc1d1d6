// SPDX-License-Identifier: GPL-2.0
//! `cfail`: a READ that the daemon cannot serve ends in an error for its reader.

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::Errno;

use crate::context::{Context, expect_errno, expect_io_errno};
use crate::image::{BLOCK, Builder, Image, pattern};
use crate::lz4;
use crate::registry::{Test, test};
use crate::session::{Mount, Session};
use crate::task::{ReadTask, read_in_background};

pub const TESTS: &[Test] = &[
    test!(
        read_that_the_daemon_fails_fails_its_reader,
        "who reads what is not there gets an error, and does not hang"
    )
    .c_fails(NO_CFAIL),
    test!(
        reader_of_a_plain_image_sees_the_errno_of_cfail,
        "what the daemon says is what the reader is told"
    )
    .c_fails(NO_CFAIL),
    test!(
        reader_of_a_compressed_image_sees_an_i_o_error,
        "EROFS has one error for what it cannot unpack"
    )
    .c_skips("EROFS uses a freed bio once a read of a compressed image fails"),
    test!(
        failed_read_leaves_its_object_as_good_as_before,
        "an error is for those who wait, and for nobody else"
    )
    .c_fails(NO_CFAIL),
    test!(
        cfail_is_refused_where_no_read_was_handed_out,
        "an id must name a READ that the daemon has"
    )
    .c_fails(NO_CFAIL),
    test!(
        read_whose_fd_was_closed_can_still_be_failed,
        "one thread closes, another one fails"
    )
    .c_fails(NO_CFAIL),
    test!(
        kernel_with_cfail_is_told_from_one_without,
        "a daemon finds out what it may use"
    )
    .c_fails(NO_CFAIL),
];

const NO_CFAIL: &str = "there is no `cfail`";
const FSID: &str = "failing";

fn image() -> Image {
    Builder::new()
        .device("blob")
        .chunked("file", pattern(1, 4 * BLOCK), 4, &[Some(1)])
        .build()
}

/// A mount of which no data is there, and none is given out.
fn without_data(ctx: &Context, image: &Image) -> Result<(Session, Mount)> {
    let mut session = ctx.session(FSID, image)?;
    let mount = session.mount(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.look_up(&mount.file("file"))?;
    session.hold_data(FSID, image);
    Ok((session, mount))
}

/// A mount, and a reader whose READs are held: one of them at least.
fn held(ctx: &Context) -> Result<(Session, Mount, ReadTask)> {
    let (mut session, mount) = without_data(ctx, &image())?;
    let reader = read_in_background(&mount.file("file"));
    session.pump_until("a READ", |session| !session.held.is_empty())?;
    Ok((session, mount, reader))
}

/// Fails each READ that comes, until the reader has its error.
fn fail_all(session: &mut Session, reader: &ReadTask, errno: Errno) -> Result<()> {
    while !reader.is_done() {
        session.pump_until("a READ or the end", |session| {
            reader.is_done() || !session.held.is_empty()
        })?;
        for read in std::mem::take(&mut session.held) {
            session.device.cfail(read.msg_id, errno).context("cfail")?;
        }
    }
    Ok(())
}

/// All is as it should be from here on.
fn finish(session: Session, mount: Mount) -> Result<()> {
    finish_with(session, mount, &image())
}

fn finish_with(mut session: Session, mount: Mount, image: &Image) -> Result<()> {
    session.hold_reads = None;
    session.check_files(&mount, image)?;
    session.unmount(mount)?;
    session.settle()
}

fn read_that_the_daemon_fails_fails_its_reader(ctx: &Context) -> Result<()> {
    let (mut session, mount, reader) = held(ctx)?;
    fail_all(&mut session, &reader, Errno::IO)?;
    expect_io_errno(reader.finish()?, Errno::IO, "the read")?;
    finish(session, mount)
}

/// What a reader of the file is told, whose READs the daemon fails with these, one time after the
/// other.
fn check_errnos(ctx: &Context, image: &Image, errnos: &[(Errno, Errno)]) -> Result<()> {
    let (mut session, mount) = without_data(ctx, image)?;
    for &(failed, seen) in errnos {
        let reader = read_in_background(&mount.file("file"));
        fail_all(&mut session, &reader, failed)?;
        expect_io_errno(reader.finish()?, seen, &format!("cfail with {failed:?}"))?;
    }
    finish_with(session, mount, image)
}

fn reader_of_a_plain_image_sees_the_errno_of_cfail(ctx: &Context) -> Result<()> {
    let errnos = [
        Errno::NODATA,
        Errno::ACCESS,
        Errno::TIMEDOUT,
        Errno::DQUOT,
        Errno::IO,
    ];
    check_errnos(ctx, &image(), &errnos.map(|errno| (errno, errno)))
}

fn reader_of_a_compressed_image_sees_an_i_o_error(ctx: &Context) -> Result<()> {
    let data = lz4::compressible(1, 4 * BLOCK);
    let image = Builder::new().compressed("file", data).build();
    let errnos = [Errno::NODATA, Errno::ACCESS, Errno::IO];
    check_errnos(ctx, &image, &errnos.map(|errno| (errno, Errno::IO)))
}

fn failed_read_leaves_its_object_as_good_as_before(ctx: &Context) -> Result<()> {
    let (mut session, mount, reader) = held(ctx)?;
    session.log = Default::default();
    // Numbers that only the kernel knows: not for readers.
    let id = session.held.remove(0).msg_id;
    let command = format!("cfail {id},-529");
    session.device.command(&command).context("cfail")?;
    fail_all(&mut session, &reader, Errno::IO)?;
    ensure!(reader.finish()?.is_err(), "the reader got data");
    ensure!(session.log.opens.is_empty(), "the object was opened again");
    finish(session, mount)
}

fn cfail_is_refused_where_no_read_was_handed_out(ctx: &Context) -> Result<()> {
    let unbound = ctx.device()?;
    expect_errno(unbound.command("cfail 1,-5"), Errno::OPNOTSUPP, "unbound")?;
    drop(unbound);

    let image = image();
    let mut session = ctx.session(FSID, &image)?;
    session.hold_opens = true;
    let task = session.mount_in_background(&ctx.mount_point(FSID), format!("fsid={FSID}"))?;
    session.pump_until("the OPEN", |session| !session.held_opens.is_empty())?;
    let open = session.held_opens.remove(0);
    let refused = |session: &Session, command: String, errno| {
        expect_errno(session.device.command(&command), errno, &command)
    };
    refused(&session, format!("cfail {},-5", open.msg_id), Errno::INVAL)?;
    session.hold_opens = false;
    session.answer_open(open)?;
    session.pump_until("mount to return", |_| task.is_done())?;
    let mount = task.finish()?.context("mount")?;
    session.look_up(&mount.file("file"))?;

    let reader = read_in_background(&mount.file("file"));
    ensure!(
        session.device.wait_readable(Some(crate::task::soon()))?,
        "no READ"
    );
    let last = session.log.reads.last().context("no READ of metadata")?;
    for id in last.msg_id + 1..last.msg_id + 4 {
        refused(&session, format!("cfail {id},-5"), Errno::INVAL)?;
    }
    session.hold_data(FSID, &image);
    session.pump_until("the READ", |session| !session.held.is_empty())?;
    let id = session.held.remove(0).msg_id;
    for argument in [
        "".to_owned(),
        format!("{id}"),
        format!("{id},"),
        format!("{id},0"),
        format!("{id},5"),
        format!("{id},-4096"),
        format!("{id},-99999999999999999999"),
        format!("{id},x"),
        format!("{id} ,-5"),
        format!("x{id},-5"),
        format!("{},-5", u64::from(id) + (1 << 32)),
    ] {
        refused(&session, format!("cfail {argument}"), Errno::INVAL)?;
    }
    refused(
        &session,
        "cfail 99999999999999999999,-5".to_owned(),
        Errno::RANGE,
    )?;
    ensure!(!reader.is_done(), "a refused command ended the READ");
    session.device.cfail(id, Errno::IO).context("cfail")?;
    refused(&session, format!("cfail {id},-5"), Errno::INVAL)?;
    let late = session.object_of(b"blob")?.1.fd.complete_read(id);
    expect_errno(late, Errno::INVAL, "cread of a READ that was failed")?;
    fail_all(&mut session, &reader, Errno::IO)?;
    ensure!(reader.finish()?.is_err(), "the reader got data");
    finish(session, mount)
}

fn read_whose_fd_was_closed_can_still_be_failed(ctx: &Context) -> Result<()> {
    let (mut session, mount, reader) = held(ctx)?;
    let reads = std::mem::take(&mut session.held);
    let id = session.object_of(b"blob")?.0;
    session.objects.remove(&id);
    for read in reads {
        session
            .device
            .cfail(read.msg_id, Errno::IO)
            .context("cfail")?;
    }
    fail_all(&mut session, &reader, Errno::IO)?;
    ensure!(reader.finish()?.is_err(), "the reader got data");
    finish(session, mount)
}

fn kernel_with_cfail_is_told_from_one_without(ctx: &Context) -> Result<()> {
    let device = ctx.bound_device()?;
    ensure!(device.has_cfail()?, "{NO_CFAIL}");
    expect_errno(device.command("cfail"), Errno::INVAL, "cfail alone")?;
    expect_errno(device.command("cfall"), Errno::OPNOTSUPP, "an unknown one")
}
