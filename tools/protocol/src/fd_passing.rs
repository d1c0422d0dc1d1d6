// SPDX-License-Identifier: GPL-2.0 OR MIT
//! Passing fds over a Unix socket with `SCM_RIGHTS`: from the process that holds the device to the
//! one that serves it.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// How many fds fit one message of these functions.
pub const MAX_PASSED_FDS: usize = 16;

const SPACE: usize = rustix::cmsg_space!(ScmRights(MAX_PASSED_FDS));

/// Sends `payload`, which must not be empty on a stream socket, together with `fds`.
///
/// `EINVAL` for more than [`MAX_PASSED_FDS`]. Returns the bytes of `payload` that were taken; the
/// fds travel with the first of them.
pub fn send_fds(socket: impl AsFd, payload: &[u8], fds: &[BorrowedFd<'_>]) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty()
        && (fds.len() > MAX_PASSED_FDS || !control.push(SendAncillaryMessage::ScmRights(fds)))
    {
        return Err(Errno::INVAL);
    }
    rustix::io::retry_on_intr(|| {
        sendmsg(
            &socket,
            &[IoSlice::new(payload)],
            &mut control,
            SendFlags::NOSIGNAL,
        )
    })
}

/// Receives into `payload`, with the fds that came along, all of them close-on-exec.
///
/// Zero bytes and no fds mean that the peer has closed. `EMSGSIZE` if the peer sent more fds than
/// [`MAX_PASSED_FDS`]; those that did arrive are closed again.
pub fn recv_fds(socket: impl AsFd, payload: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); SPACE];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        recvmsg(
            &socket,
            &mut [IoSliceMut::new(payload)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        )
    })?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(Errno::MSGSIZE);
    }
    Ok((received.bytes, fds))
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use rustix::io::FdFlags;

    use super::*;

    #[test]
    fn fds_arrive_usable_and_close_on_exec() {
        let (near, far) = UnixStream::pair().unwrap();
        let (reader, writer) = rustix::pipe::pipe().unwrap();
        assert_eq!(
            send_fds(&near, b"name", &[writer.as_fd(), reader.as_fd()]),
            Ok(4)
        );
        let mut payload = [0; 16];
        let (length, fds) = recv_fds(&far, &mut payload).unwrap();
        assert_eq!(payload.get(..length), Some(&b"name"[..]));
        let [writer, reader] = <[OwnedFd; 2]>::try_from(fds).unwrap();
        for fd in [&writer, &reader] {
            assert!(
                rustix::io::fcntl_getfd(fd)
                    .unwrap()
                    .contains(FdFlags::CLOEXEC)
            );
        }
        rustix::io::write(&writer, b"through").unwrap();
        let mut through = [0; 16];
        assert_eq!(rustix::io::read(&reader, &mut through), Ok(7));
    }

    #[test]
    fn a_closed_peer_is_no_bytes_and_no_fds() {
        let (near, far) = UnixStream::pair().unwrap();
        drop(near);
        let (length, fds) = recv_fds(&far, &mut [0; 4]).unwrap();
        assert_eq!((length, fds.len()), (0, 0));
    }

    #[test]
    fn too_many_fds_are_refused() {
        let (near, far) = UnixStream::pair().unwrap();
        let fds = vec![near.as_fd(); MAX_PASSED_FDS + 1];
        assert_eq!(send_fds(&near, b"x", &fds), Err(Errno::INVAL));
        assert_eq!(send_fds(&near, b"x", fds.get(1..).unwrap()), Ok(1));
        assert_eq!(recv_fds(&far, &mut [0; 4]).unwrap().1.len(), MAX_PASSED_FDS);
    }
}
