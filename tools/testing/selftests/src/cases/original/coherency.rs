// SPDX-License-Identifier: GPL-2.0
//! When the cache believes itself: the attributes of files and volumes, what they hold at each
//! moment, and what becomes of a file or volume that does not agree with the server.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use cachefiles_protocol::Errno;

use super::attribute::{self, Attribute, DIRTY};
use super::world::{BLOCK, Client, Server, bind, cookie_states, filled, graves, stored_files};
use crate::context::Context;
use crate::image::pattern;
use crate::kmsg::KernelLog;
use crate::registry::{Test, test};
use crate::sys;
use crate::task::soon;

pub const TESTS: &[Test] = &[
    test!(
        attribute_of_a_file_has_its_size_and_the_servers_version,
        "the layout on disk; the other module reads it"
    ),
    test!(
        attribute_says_dirty_from_the_open_for_writing_to_the_end_of_use,
        "a crash while a file is written leaves a mark"
    ),
    test!(
        dirty_file_is_fetched_again_and_logged,
        "what a crash left half written is not believed"
    ),
    test!(
        file_changed_on_the_server_is_fetched_again,
        "old contents are not served as new"
    ),
    test!(
        file_with_another_attribute_is_fetched_again,
        "type, size and version are all compared"
    ),
    test!(
        file_without_a_readable_attribute_is_not_believed,
        "contents that nobody vouches for are not served"
    ),
    test!(
        something_odd_in_the_place_of_a_file_is_moved_away,
        "a directory where a file should be does not stop the cache"
    ),
    test!(
        attribute_of_a_volume_is_four_zero_bytes_and_its_coherency,
        "CVE-2022-49062: the length of a volume's attribute is its own"
    ),
    test!(
        volume_with_another_attribute_is_discarded_with_all_its_files,
        "CVE-2022-49062: a volume that does not agree is not believed"
    ),
    test!(
        file_with_a_longer_attribute_is_replaced,
        "D9: a file whose attribute cannot be read as a whole is not in the way for ever"
    )
    .c_fails("no new file takes its place"),
    test!(
        volume_with_a_longer_attribute_is_discarded_with_all_its_files,
        "D9: a volume whose attribute cannot be read as a whole is not in the way for ever"
    )
    .c_fails("nothing is cached in this volume any more"),
    test!(
        atime_of_a_cache_file_is_set_when_it_is_opened,
        "cachefilesd culls what was not used for longest"
    ),
    test!(
        file_that_another_object_uses_is_not_shared,
        "the mark of use keeps two objects from writing one file"
    ),
];

fn data() -> Vec<u8> {
    pattern(50, 6 * BLOCK)
}

/// That the next mount reads the server's file, and stores it for the mount after that.
fn expect_fetched_again(ctx: &Context, expected: &[u8]) -> Result<()> {
    let client = Client::mount(ctx)?;
    client.check_cold("file", expected)?;
    client.unmount()?;
    let client = Client::mount(ctx)?;
    client.check_warm("file", expected)?;
    client.unmount()
}

fn attribute_of_a_file_has_its_size_and_the_servers_version(ctx: &Context) -> Result<()> {
    let server = Server::new(ctx)?;
    let _device = bind(ctx, &[])?;
    let mut paths = Vec::new();
    let client = Client::mount(ctx)?;
    for size in [1, 4096, 10_001] {
        let name = size.to_string();
        server.put(&name, &pattern(1, size))?;
        client.check(&name, &pattern(1, size))?;
        paths.push((size, name.clone(), client.cache_file(&name)?));
    }
    client.unmount()?;
    for (size, name, path) in paths {
        let seen = Attribute::read(&path)?;
        let version = fs::metadata(server.path(&name))?.mtime() as u32 ^ ((size as u32) << 8);
        let expected = Attribute {
            object_size: size as u64,
            zero_point: 0,
            kind: 1,
            content: 0,
            coherency: version.to_le_bytes().to_vec(),
        };
        ensure!(seen == expected, "{seen:?}, expected {expected:?}");
    }
    Ok(())
}

fn attribute_says_dirty_from_the_open_for_writing_to_the_end_of_use(ctx: &Context) -> Result<()> {
    let (_server, _device, path) = filled(ctx, &data())?;
    let content = || Attribute::read(&path).map(|attribute| attribute.content);
    let client = Client::mount(ctx)?;
    client.check("file", &data())?;
    ensure!(content()? == 0, "content {} while it is read", content()?);
    let file = client.open("file")?;
    sys::wait_for("the file to be marked", soon(), || {
        content().is_ok_and(|content| content == DIRTY)
    })?;
    rustix::io::pwrite(&file, b"new", 10)?;
    file.sync_all()?;
    ensure!(content()? == DIRTY, "content {} while open", content()?);
    drop(file);
    ensure!(content()? == DIRTY, "content {} once closed", content()?);
    client.unmount()?;
    ensure!(content()? == 0, "content {} after use", content()?);
    Ok(())
}

fn dirty_file_is_fetched_again_and_logged(ctx: &Context) -> Result<()> {
    let (_server, _device, path) = filled(ctx, &data())?;
    let before = fs::metadata(&path)?.ino();
    let mut attribute = Attribute::read(&path)?;
    attribute.content = DIRTY;
    attribute.write(&path)?;
    // What a crash would have left: neither old nor new.
    let file = File::options().write(true).open(&path)?;
    rustix::io::pwrite(&file, &pattern(51, BLOCK), 0)?;
    drop(file);
    let mut log = KernelLog::from_now()?;
    expect_fetched_again(ctx, &data())?;
    let lines = log.lines()?;
    let line = "CacheFiles: Dirty object in cache";
    ensure!(
        lines.iter().any(|seen| seen == line),
        "no line {line:?} in {lines:?}"
    );
    ensure!(
        fs::metadata(&path)?.ino() != before,
        "the file was not replaced"
    );
    Ok(())
}

fn file_changed_on_the_server_is_fetched_again(ctx: &Context) -> Result<()> {
    let (server, device, _path) = filled(ctx, &data())?;
    for (number, size) in [(1, 6 * BLOCK), (2, 2 * BLOCK), (3, 9 * BLOCK)] {
        let data = pattern(60 + number, size);
        server.change("file", &data)?;
        expect_fetched_again(ctx, &data).with_context(|| format!("change {number}"))?;
    }
    let files = stored_files()?;
    ensure!(files.len() == 1, "stored are {files:?}");
    ensure!(graves()?.is_empty(), "in the graveyard: {:?}", graves()?);
    drop(device);
    Ok(())
}

fn file_with_another_attribute_is_fetched_again(ctx: &Context) -> Result<()> {
    let (_server, _device, path) = filled(ctx, &data())?;
    type Change = fn(&mut Attribute);
    let changes: [(&str, Change); 4] = [
        ("type", |attribute| attribute.kind = 2),
        ("size", |attribute| attribute.object_size += 1),
        ("version", |attribute| attribute.coherency[3] ^= 1),
        ("length", |attribute| {
            attribute.coherency.pop();
        }),
    ];
    for (what, change) in changes {
        let mut attribute = Attribute::read(&path)?;
        change(&mut attribute);
        attribute.write(&path)?;
        let file = File::options().write(true).open(&path)?;
        rustix::io::pwrite(&file, &pattern(52, BLOCK), 0)?;
        drop(file);
        expect_fetched_again(ctx, &data()).with_context(|| format!("another {what}"))?;
    }
    Ok(())
}

fn file_without_a_readable_attribute_is_not_believed(ctx: &Context) -> Result<()> {
    for what in ["none", "long"] {
        let (_server, device, path) = filled(ctx, &data())?;
        match what {
            "none" => attribute::remove(&path)?,
            _ => {
                let mut attribute = Attribute::read(&path)?;
                attribute.coherency.extend_from_slice(b"more");
                attribute.write(&path)?;
            }
        }
        let file = File::options().write(true).open(&path)?;
        rustix::io::pwrite(&file, &pattern(53, BLOCK), 0)?;
        drop(file);
        let client = Client::mount(ctx)?;
        client.check_cold("file", &data())?;
        client.unmount()?;
        // Neither the mark of use nor the cache suffered.
        super::world::command_at(&device, &path, "cull")?.context("cull")?;
        expect_fetched_again(ctx, &data())?;
        drop(device);
        sys::empty_cache()?;
    }
    Ok(())
}

fn something_odd_in_the_place_of_a_file_is_moved_away(ctx: &Context) -> Result<()> {
    let (_server, _device, path) = filled(ctx, &data())?;
    fs::remove_file(&path)?;
    fs::create_dir(&path)?;
    fs::write(path.join("inside"), "x")?;
    expect_fetched_again(ctx, &data())?;
    ensure!(path.is_file(), "{} is no file", path.display());
    let graves = graves()?;
    ensure!(
        graves.len() == 1 && graves[0].join("inside").exists(),
        "in the graveyard: {graves:?}"
    );
    Ok(())
}

fn attribute_of_a_volume_is_four_zero_bytes_and_its_coherency(ctx: &Context) -> Result<()> {
    let (_server, device, path) = filled(ctx, &data())?;
    let volume = volume_of(&path)?;
    // 9p has no coherency data for its volumes.
    ensure!(
        attribute::raw(volume)? == [0; 4],
        "it is {:?}",
        attribute::raw(volume)?
    );
    attribute::expect_none(path.parent().context("no parent")?)?;
    drop(device);
    ensure!(
        attribute::raw(volume)? == [0; 4],
        "it is {:?} after unbinding",
        attribute::raw(volume)?
    );
    let _device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    client.check_warm("file", &data())?;
    client.unmount()?;
    ensure!(graves()?.is_empty(), "in the graveyard: {:?}", graves()?);
    Ok(())
}

fn volume_of(file: &Path) -> Result<&Path> {
    file.ancestors().nth(2).context("no volume")
}

fn volume_with_another_attribute_is_discarded_with_all_its_files(ctx: &Context) -> Result<()> {
    let (_server, _device, path) = filled(ctx, &data())?;
    let volume = volume_of(&path)?;
    for (round, bytes) in [&[0, 0, 0, 1][..], &[0, 0], &[]].into_iter().enumerate() {
        attribute::write_raw(volume, bytes)?;
        expect_fetched_again(ctx, &data()).with_context(|| format!("{bytes:?}"))?;
        ensure!(
            graves()?.len() == round + 1,
            "{bytes:?}: in the graveyard: {:?}",
            graves()?
        );
        ensure!(
            attribute::raw(volume)? == [0; 4],
            "the new one has no attribute"
        );
    }
    for grave in graves()? {
        fs::remove_dir_all(grave).context("emptying the graveyard")?;
    }
    Ok(())
}

fn file_with_a_longer_attribute_is_replaced(ctx: &Context) -> Result<()> {
    let (_server, _device, path) = filled(ctx, &data())?;
    let mut attribute = Attribute::read(&path)?;
    attribute.coherency.extend_from_slice(b"more");
    attribute.write(&path)?;
    expect_fetched_again(ctx, &data())
}

fn volume_with_a_longer_attribute_is_discarded_with_all_its_files(ctx: &Context) -> Result<()> {
    let (_server, _device, path) = filled(ctx, &data())?;
    let volume = volume_of(&path)?;
    attribute::write_raw(volume, &[0; 12])?;
    expect_fetched_again(ctx, &data())?;
    ensure!(graves()?.len() == 1, "in the graveyard: {:?}", graves()?);
    ensure!(
        attribute::raw(volume)? == [0; 4],
        "the new one has another attribute"
    );
    Ok(())
}

fn atime_of_a_cache_file_is_set_when_it_is_opened(ctx: &Context) -> Result<()> {
    let (_server, _device, path) = filled(ctx, &data())?;
    let old = UNIX_EPOCH + Duration::from_secs(1_000_000);
    let times = FileTimes::new()
        .set_accessed(old)
        .set_modified(old + Duration::from_secs(1));
    File::options().write(true).open(&path)?.set_times(times)?;
    let client = Client::mount(ctx)?;
    // Nothing is read, which would set it as well. The look-up goes on behind the open.
    let file = File::open(client.path("file"))?;
    sys::wait_for("the look-up", soon(), || {
        cookie_states().is_ok_and(|states| states == ["A"])
    })?;
    let seen = fs::metadata(&path)?;
    drop(file);
    client.unmount()?;
    ensure!(
        seen.atime() > 1_000_000 + 1000,
        "atime is {}, mtime {}",
        seen.atime(),
        seen.mtime()
    );
    Ok(())
}

fn file_that_another_object_uses_is_not_shared(ctx: &Context) -> Result<()> {
    let server = Server::new(ctx)?;
    for name in ["one", "two"] {
        server.put(name, &data())?;
        server.set_mtime(name, 77)?;
    }
    let device = bind(ctx, &[])?;
    let client = Client::mount(ctx)?;
    client.check("one", &data())?;
    client.check("two", &data())?;
    let (one, two) = (client.cache_file("one")?, client.cache_file("two")?);
    client.unmount()?;
    // The second one's name now leads to the first one's file.
    fs::remove_file(&two)?;
    fs::hard_link(&one, &two)?;
    let mut log = KernelLog::from_now()?;
    let client = Client::mount(ctx)?;
    let open = File::open(client.path("one"))?;
    client.check_warm("one", &data())?;
    client.check_cold("two", &data())?;
    let lines = log.lines()?;
    ensure!(
        lines
            .iter()
            .any(|line| line.starts_with("CacheFiles: ") && line.contains("in use")),
        "nothing is said of it in {lines:?}"
    );
    let marked = super::world::command_at(&device, &one, "inuse")?;
    ensure!(
        marked == Err(Errno::BUSY),
        "the first one's mark is gone: {marked:?}"
    );
    drop(open);
    client.unmount()?;
    super::world::command_at(&device, &one, "inuse")?.context("the mark stays")
}
