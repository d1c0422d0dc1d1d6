// SPDX-License-Identifier: GPL-2.0
//! A small web server on the loopback device: it has byte ranges and conditions, and does what is
//! wrong with real ones when it is told to.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a server does in place of what it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Manner {
    /// Nothing: it answers as it should.
    #[default]
    Right,
    /// It answers this status, without a body.
    Status(u16),
    /// It answers this status, without a body, and says when to come back (Retry-After).
    Busy(u16, &'static str),
    /// It has no ranges: 200, and all of the file.
    Whole,
    /// It sends the range before the one that was asked for, and says so.
    OtherRange,
    /// It does not say which range it sends.
    NoRange,
    /// It says that the file has a byte more.
    OtherSize,
    /// It says another length than that of the range.
    OtherLength,
    /// It closes the connection in the middle of the body.
    Cut,
    /// It sends more than was asked for, in chunks, so that no length says so.
    More,
    /// It says that the body is compressed.
    Gzip,
    /// It knows nothing of conditions: If-Match and the like.
    NoConditions,
    /// It has ETags that are weak.
    WeakEtag,
    /// It has no ETags.
    NoEtag,
    /// It makes its ETags of time and size, as nginx does.
    NginxEtag,
    /// It has neither ETags nor times.
    NoMark,
    /// It takes the request and closes the connection.
    Silent,
    /// It does not answer, for as long as it runs.
    Hanging,
}

/// A file, and how often it was put there.
#[derive(Debug, Clone)]
struct Page {
    body: Arc<Vec<u8>>,
    version: u64,
}

impl Page {
    fn etag(&self, manner: Manner) -> String {
        if manner == Manner::NginxEtag {
            let (time, size) = (self.version % 60, self.body.len());
            return format!("\"{time:x}-{size:x}\"");
        }
        let mut hasher = DefaultHasher::new();
        (&*self.body, self.version).hash(&mut hasher);
        format!("\"{:016x}\"", hasher.finish())
    }

    fn modified(&self) -> String {
        format!("Thu, 01 Jan 2026 00:00:{:02} GMT", self.version % 60)
    }
}

#[derive(Debug, Default)]
struct State {
    pages: BTreeMap<String, Page>,
    manner: Manner,
    /// For how many requests it has that manner, and how many come before them.
    times: Option<usize>,
    before: usize,
    requests: Vec<String>,
    connections: usize,
}

/// The server. Its threads go with the process.
#[derive(Debug, Clone)]
pub struct Web {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Web {
    /// Starts one, on a port of the system's choice.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let web = Self {
            address: listener.local_addr()?,
            state: Arc::default(),
        };
        let server = web.clone();
        std::thread::spawn(move || server.accept(&listener));
        Ok(web)
    }

    fn accept(&self, listener: &TcpListener) {
        for stream in listener.incoming().flatten() {
            let server = self.clone();
            std::thread::spawn(move || {
                // Ends when the client has enough.
                let _ = stream.set_nodelay(true);
                let _ = server.converse(stream);
            });
        }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a file there, in place of one of that name.
    pub fn put(&self, name: &str, body: &[u8]) {
        let mut state = self.state();
        let version = state.pages.get(name).map_or(0, |page| page.version + 1);
        let body = Arc::new(body.to_vec());
        state.pages.insert(name.to_owned(), Page { body, version });
    }

    /// Has it answer like this from now on.
    pub fn behave(&self, manner: Manner) {
        let mut state = self.state();
        (state.manner, state.times) = (manner, None);
    }

    /// Has it answer so many requests like this, and then as it should.
    pub fn behave_for(&self, times: usize, manner: Manner) {
        let mut state = self.state();
        (state.manner, state.times) = (manner, Some(times));
    }

    /// Has it answer so many requests as it should, the next one like this, and what comes then as
    /// it should again.
    pub fn behave_after(&self, times: usize, manner: Manner) {
        self.behave_for(1, manner);
        self.state().before = times;
    }

    /// The requests that came so far: the file's name, a blank, the range.
    pub fn requests(&self) -> Vec<String> {
        self.state().requests.clone()
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> usize {
        self.state().connections
    }

    /// Answers what comes over one connection, until its end.
    pub fn converse(&self, stream: impl Read + Write) -> io::Result<()> {
        self.state().connections += 1;
        let mut stream = BufReader::new(stream);
        while let Some(request) = Request::read(&mut stream)? {
            let manner = self.take(&request);
            let page = self.state().pages.get(&request.name).cloned();
            match manner {
                Manner::Silent => return Ok(()),
                Manner::Hanging => std::thread::sleep(Duration::from_secs(86_400)),
                _ => {}
            }
            let goes_on = answer(stream.get_mut(), &request, page.as_ref(), manner)?;
            if !goes_on {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Notes a request, and says how it is to be answered.
    fn take(&self, request: &Request) -> Manner {
        let mut state = self.state();
        state
            .requests
            .push(format!("{} {}", request.name, request.range));
        if state.before > 0 {
            state.before -= 1;
            return Manner::Right;
        }
        match &mut state.times {
            Some(0) => Manner::Right,
            Some(times) => {
                *times -= 1;
                state.manner
            }
            None => state.manner,
        }
    }
}

/// What is looked at of a request.
struct Request {
    name: String,
    range: String,
    if_match: Option<String>,
    if_unmodified_since: Option<String>,
}

impl Request {
    fn read(stream: &mut impl io::BufRead) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let path = line.split(' ').nth(1).unwrap_or_default();
        let mut request = Self {
            name: path.trim_start_matches('/').to_owned(),
            range: String::new(),
            if_match: None,
            if_unmodified_since: None,
        };
        loop {
            line.clear();
            if stream.read_line(&mut line)? == 0 || line == "\r\n" {
                return Ok(Some(request));
            }
            let (name, value) = line.trim_end().split_once(": ").unwrap_or_default();
            match name.to_ascii_lowercase().as_str() {
                "range" => value.clone_into(&mut request.range),
                "if-match" => request.if_match = Some(value.to_owned()),
                "if-unmodified-since" => request.if_unmodified_since = Some(value.to_owned()),
                _ => {}
            }
        }
    }

    /// The part of a file of that size.
    fn part(&self, size: usize) -> Option<Range<usize>> {
        let (first, last) = self.range.strip_prefix("bytes=")?.split_once('-')?;
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        (first < size).then(|| first..size.min(last + 1))
    }
}

/// Answers one request. False if the connection is to be closed.
fn answer(
    stream: &mut impl Write,
    request: &Request,
    page: Option<&Page>,
    manner: Manner,
) -> io::Result<bool> {
    let empty = |status: u16, more: &str| {
        format!("HTTP/1.1 {status} Said\r\nContent-Length: 0\r\n{more}\r\n").into_bytes()
    };
    if let Manner::Status(status) = manner {
        let more = "Location: http://127.0.0.1:9/elsewhere\r\n";
        stream.write_all(&empty(status, more))?;
        return Ok(true);
    }
    if let Manner::Busy(status, until) = manner {
        let more = format!("Retry-After: {until}\r\n");
        stream.write_all(&empty(status, &more))?;
        return Ok(true);
    }
    let Some(page) = page else {
        stream.write_all(&empty(404, ""))?;
        return Ok(true);
    };
    let conditions = [
        (&request.if_match, page.etag(manner)),
        (&request.if_unmodified_since, page.modified()),
    ];
    let is_other =
        |(wanted, is): &(&Option<String>, String)| wanted.as_ref().is_some_and(|it| it != is);
    if manner != Manner::NoConditions && conditions.iter().any(is_other) {
        stream.write_all(&empty(412, ""))?;
        return Ok(true);
    }
    let size = page.body.len();
    let Some(part) = request.part(size) else {
        stream.write_all(&empty(416, &format!("Content-Range: bytes */{size}\r\n")))?;
        return Ok(true);
    };
    send(stream, page, part, manner)
}

fn send(
    stream: &mut impl Write,
    page: &Page,
    mut part: Range<usize>,
    manner: Manner,
) -> io::Result<bool> {
    let mut size = page.body.len();
    match manner {
        Manner::Whole => part = 0..size,
        Manner::OtherRange if part.start > 0 => part = part.start - 1..part.end - 1,
        Manner::OtherRange => part.end -= 1,
        Manner::OtherSize => size += 1,
        _ => {}
    }
    let body = page.body.get(part.clone()).unwrap_or_default();
    let status = if manner == Manner::Whole { 200 } else { 206 };
    let mut head = format!("HTTP/1.1 {status} Said\r\n");
    if !matches!(manner, Manner::Whole | Manner::NoRange) {
        let last = part.end - 1;
        head += &format!("Content-Range: bytes {}-{last}/{size}\r\n", part.start);
    }
    match manner {
        Manner::NoEtag | Manner::NoMark => {}
        Manner::WeakEtag => head += &format!("ETag: W/{}\r\n", page.etag(manner)),
        _ => head += &format!("ETag: {}\r\n", page.etag(manner)),
    }
    if manner != Manner::NoMark {
        head += &format!("Last-Modified: {}\r\n", page.modified());
    }
    if manner == Manner::Gzip {
        head += "Content-Encoding: gzip\r\n";
    }
    let length = body.len();
    match manner {
        Manner::More => {
            head += "Transfer-Encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes())?;
            write!(stream, "{length:x}\r\n")?;
            stream.write_all(body)?;
            stream.write_all(b"\r\n4\r\nmore\r\n0\r\n\r\n")?;
            return Ok(true);
        }
        Manner::OtherLength => head += &format!("Content-Length: {}\r\n\r\n", length - 1),
        _ => head += &format!("Content-Length: {length}\r\n\r\n"),
    }
    stream.write_all(head.as_bytes())?;
    let sent = match manner {
        Manner::Cut => length / 2,
        Manner::OtherLength => length - 1,
        _ => length,
    };
    stream.write_all(body.get(..sent).unwrap_or_default())?;
    stream.flush()?;
    Ok(manner != Manner::Cut)
}
