//! One HTTP/1.1 connection, kept alive. It knows whether an answer had begun when it broke, which decides who may
//! send a request again.

use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

/// A connection of a client.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: BufReader<TcpStream>,
}

/// A complete answer.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Its status.
    pub(crate) status: u16,
    /// The fields of its head, names in small letters.
    pub(crate) fields: Vec<(String, String)>,
    /// Its body.
    pub(crate) body: String,
}

/// Why there is no complete answer.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The connection ended before a byte of an answer had come.
    Unanswered(io::Error),
    /// It ended in the midst of one, or what came is none.
    Cut(io::Error),
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
        })
    }

    /// Sends one GET, with these lines in its head, and reads the answer to its end.
    pub(crate) async fn get(&mut self, path: &str, fields: &str) -> Result<Answer, Broken> {
        let head = format!("GET {path} HTTP/1.1\r\nHost: oinker\r\n{fields}\r\n");
        let sent = self.stream.write_all(head.as_bytes()).await;
        // Where sending failed, an answer may still be there to read.
        let begun = self.stream.fill_buf().await.map_err(Broken::Unanswered)?;
        if begun.is_empty() {
            return Err(Broken::Unanswered(io::ErrorKind::UnexpectedEof.into()));
        }
        sent.map_err(Broken::Unanswered)?;
        let answer = self.answer().await;
        answer.map_err(Broken::Cut)
    }

    async fn answer(&mut self) -> io::Result<Answer> {
        let first = self.line().await?;
        let status = first.split(' ').nth(1).and_then(|word| word.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status: {first:?}")))?;
        let mut fields = Vec::new();
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            fields.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut answer = Answer {
            status,
            fields,
            body: String::new(),
        };
        let length = answer
            .field("content-length")
            .and_then(|text| text.parse().ok());
        let length: usize = length.ok_or_else(|| io::Error::other("no length"))?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        answer.body = String::from_utf8_lossy(&body).into_owned();
        Ok(answer)
    }

    async fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).await?;
        match line.strip_suffix("\r\n") {
            Some(line) => Ok(line.to_owned()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Answer {
    /// Returns a field of the head.
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        let found = fields.find(|(field, _)| field == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Tells whether the connection may be used again.
    pub(crate) fn keeps_alive(&self) -> bool {
        self.field("connection") != Some("close")
    }
}
