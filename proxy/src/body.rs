//! How a message body ends: by length, by chunks, or with the connection.
//!
//! A [`Body`] looks at bytes as they come, however they are split, and says which belong to it.
//! Chunked bodies are passed on byte for byte, except that chunk extensions and trailer fields
//! are left out; every byte of the framing is checked strictly first, because two parsers that
//! read a lenient chunk size differently are a smuggling hole (RFC 9112 section 7.1, 11.2).

use crate::limits;

/// How the bytes of a body are passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// With the framing they came in.
    Verbatim,
    /// Without chunk framing.
    Decoded,
    /// Each run of bytes as a chunk (done by the writer; framing of the source is left out).
    Encoded,
}

/// What a body took out of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    /// How many bytes at the front of the buffer are to be passed on.
    pub(crate) kept: usize,
    /// How many bytes of the buffer are used up; what follows belongs to the next message.
    pub(crate) consumed: usize,
}

/// Why bytes are not a chunked body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// A chunk size is missing, not hexadecimal or too large.
    Size,
    /// A line does not end in CR LF, or holds a control character.
    Line,
    /// An extension or the trailer section is longer than its limit.
    TooLong,
}

/// A message body that is being read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    /// So many bytes are still to come.
    Length(u64),
    /// Chunks, RFC 9112 section 7.1.
    Chunked(Chunks),
    /// Everything until the connection ends (answers only).
    UntilClose,
}

impl Body {
    /// No body at all.
    pub(crate) const EMPTY: Self = Self::Length(0);

    /// A chunked body of which nothing is read yet.
    pub(crate) fn chunked() -> Self {
        Self::Chunked(Chunks {
            state: State::Size {
                digits: 0,
                value: 0,
            },
            line: 0,
        })
    }

    /// Returns whether the last byte has been seen.
    pub(crate) fn is_done(&self) -> bool {
        match self {
            Self::Length(rest) => *rest == 0,
            Self::Chunked(chunks) => chunks.state == State::Done,
            Self::UntilClose => false,
        }
    }

    /// Returns how many bytes to read at once, at most `most`.
    ///
    /// That is one more than the body needs: a read that fills its buffer does not tell the
    /// runtime that nothing is left, and the next wait would cost a system call more.
    pub(crate) fn read_limit(&self, most: usize) -> usize {
        match self {
            Self::Length(rest) => {
                usize::try_from(*rest).map_or(most, |rest| rest.saturating_add(1).min(most))
            }
            Self::Chunked(_) | Self::UntilClose => most,
        }
    }

    /// Takes what belongs to this body from the front of `buffer`.
    ///
    /// What is to be passed on is moved to the front of `buffer`, in place.
    pub(crate) fn accept(&mut self, buffer: &mut [u8], form: Form) -> Result<Taken, BodyError> {
        match self {
            Self::Length(rest) => {
                let count = usize::try_from(*rest).map_or(buffer.len(), |r| r.min(buffer.len()));
                *rest -= count as u64;
                Ok(Taken {
                    kept: count,
                    consumed: count,
                })
            }
            Self::Chunked(chunks) => chunks.accept(buffer, form),
            Self::UntilClose => Ok(Taken {
                kept: buffer.len(),
                consumed: buffer.len(),
            }),
        }
    }
}

/// The state of a chunked body between two reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chunks {
    state: State,
    /// The length so far of what is being skipped, in bytes.
    line: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Size { digits: u8, value: u64 },
    Extension { value: u64 },
    SizeEnd { value: u64 },
    Data { rest: u64 },
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerLf,
    EndLf,
    Done,
}

/// What becomes of one byte of framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Frame,
    Skip,
}

impl Chunks {
    fn accept(&mut self, buffer: &mut [u8], form: Form) -> Result<Taken, BodyError> {
        let mut kept = 0;
        let mut at = 0;
        while at < buffer.len() && self.state != State::Done {
            if let State::Data { rest } = self.state {
                let room = buffer.len() - at;
                let run = usize::try_from(rest).map_or(room, |rest| rest.min(room));
                if kept != at {
                    buffer.copy_within(at..at + run, kept);
                }
                kept += run;
                at += run;
                let rest = rest - run as u64;
                self.state = if rest == 0 {
                    State::DataCr
                } else {
                    State::Data { rest }
                };
                continue;
            }
            let byte = buffer[at];
            at += 1;
            if self.frame_byte(byte)? == Fate::Frame && form == Form::Verbatim {
                buffer[kept] = byte;
                kept += 1;
            }
        }
        Ok(Taken { kept, consumed: at })
    }

    fn frame_byte(&mut self, byte: u8) -> Result<Fate, BodyError> {
        let (state, fate) = match (self.state, byte) {
            (State::Size { digits, value }, _) => (size_byte(digits, value, byte)?, Fate::Frame),
            (State::Extension { value }, b'\r') => (State::SizeEnd { value }, Fate::Frame),
            (State::Trailer, b'\r') => (State::TrailerLf, Fate::Skip),
            (State::Extension { .. } | State::Trailer, _) => {
                self.skipped_byte(byte)?;
                (self.state, Fate::Skip)
            }
            (State::SizeEnd { value: 0 }, b'\n') => {
                self.line = 0;
                (State::TrailerStart, Fate::Frame)
            }
            (State::SizeEnd { value }, b'\n') => (State::Data { rest: value }, Fate::Frame),
            (State::DataCr, b'\r') => (State::DataLf, Fate::Frame),
            (State::DataLf, b'\n') => {
                self.line = 0;
                (
                    State::Size {
                        digits: 0,
                        value: 0,
                    },
                    Fate::Frame,
                )
            }
            (State::TrailerStart, b'\r') => (State::EndLf, Fate::Frame),
            (State::TrailerStart, _) if byte.is_ascii_alphanumeric() => {
                self.skipped_byte(byte)?;
                (State::Trailer, Fate::Skip)
            }
            (State::TrailerLf, b'\n') => (State::TrailerStart, Fate::Skip),
            (State::EndLf, b'\n') => (State::Done, Fate::Frame),
            (
                State::SizeEnd { .. }
                | State::Data { .. }
                | State::DataCr
                | State::DataLf
                | State::TrailerStart
                | State::TrailerLf
                | State::EndLf
                | State::Done,
                _,
            ) => return Err(BodyError::Line),
        };
        // The semicolon that begins an extension is left out with it.
        let fate = if matches!(state, State::Extension { .. }) {
            Fate::Skip
        } else {
            fate
        };
        self.state = state;
        Ok(fate)
    }

    /// Checks and counts a byte of an extension or a trailer field.
    fn skipped_byte(&mut self, byte: u8) -> Result<(), BodyError> {
        let in_trailer = matches!(self.state, State::Trailer | State::TrailerStart);
        let most = if in_trailer {
            limits::TRAILER_BYTES_MAX
        } else {
            limits::CHUNK_EXTENSION_BYTES_MAX
        };
        self.line += 1;
        if self.line > most {
            return Err(BodyError::TooLong);
        }
        if (byte < 0x20 && byte != b'\t') || byte == 0x7f {
            Err(BodyError::Line)
        } else {
            Ok(())
        }
    }
}

/// Takes one byte of a chunk size.
fn size_byte(digits: u8, value: u64, byte: u8) -> Result<State, BodyError> {
    let Some(digit) = char::from(byte).to_digit(16) else {
        return match byte {
            b';' if digits > 0 => Ok(State::Extension { value }),
            b'\r' if digits > 0 => Ok(State::SizeEnd { value }),
            _ => Err(BodyError::Size),
        };
    };
    // Fifteen digits are far beyond any body and cannot overflow, neither here nor in a backend
    // that reads a signed number.
    if digits == 15 {
        return Err(BodyError::Size);
    }
    Ok(State::Size {
        digits: digits + 1,
        value: value << 4 | u64::from(digit),
    })
}

#[cfg(test)]
mod tests;
