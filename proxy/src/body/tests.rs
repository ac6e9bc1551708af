//! Framing, however the bytes are split.

use proptest::prelude::*;

use super::*;

/// Feeds `input` in pieces of these lengths, round and round.
fn read(input: &[u8], pieces: &[usize], form: Form) -> Result<(Vec<u8>, usize, bool), BodyError> {
    let mut body = Body::chunked();
    let (mut kept, mut consumed) = (Vec::new(), 0);
    let mut pieces = pieces.iter().cycle();
    while consumed < input.len() && !body.is_done() {
        let piece = (*pieces.next().expect("there are pieces")).min(input.len() - consumed);
        let mut buffer = input[consumed..consumed + piece].to_vec();
        let taken = body.accept(&mut buffer, form)?;
        kept.extend_from_slice(&buffer[..taken.kept]);
        consumed += taken.consumed;
        assert!(taken.consumed == piece || body.is_done());
    }
    Ok((kept, consumed, body.is_done()))
}

fn encode(chunks: &[Vec<u8>], extension: &str, trailer: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
        out.extend_from_slice(format!("{:X}{extension}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(format!("0{extension}\r\n{trailer}\r\n").as_bytes());
    out
}

proptest! {
    #[test]
    fn chunks_read_the_same_however_they_are_split(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
        extension in prop::sample::select(vec!["", ";", ";a=b", ";a=\"b;c\""]),
        trailer in prop::sample::select(vec!["", "A: b\r\n", "A: b\r\nContent-Length: 3\r\n"]),
        rest in prop::collection::vec(any::<u8>(), 0..5),
        pieces in prop::collection::vec(1_usize..30, 1..8),
    ) {
        let message = encode(&chunks, extension, trailer);
        let mut input = message.clone();
        input.extend_from_slice(&rest);

        let decoded = read(&input, &pieces, Form::Decoded);
        let verbatim = read(&input, &pieces, Form::Verbatim);

        prop_assert_eq!(decoded, Ok((chunks.concat(), message.len(), true)));
        prop_assert_eq!(verbatim, Ok((encode(&chunks, "", ""), message.len(), true)));
    }

    #[test]
    fn a_cut_body_is_never_done(
        chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..10), 0..4),
        cut in 1_usize..12,
    ) {
        let message = encode(&chunks, "", "A: b\r\n");
        let cut = message.len().saturating_sub(cut);

        let (_, consumed, done) = read(&message[..cut], &[7], Form::Verbatim).expect("it is valid");

        prop_assert_eq!((consumed, done), (cut, false));
    }

    #[test]
    fn arbitrary_bytes_are_judged_alike_however_they_are_split(
        input in prop::collection::vec(prop::sample::select(b"0123aAfF\r\n\r\n;: \0x".to_vec()), 0..60),
        pieces in prop::collection::vec(1_usize..9, 1..5),
    ) {
        let whole = read(&input, &[usize::MAX], Form::Verbatim);
        let split = read(&input, &pieces, Form::Verbatim);

        prop_assert_eq!(whole, split);
    }
}

#[test]
fn skipped_parts_have_a_limit() {
    let long = "x".repeat(limits::CHUNK_EXTENSION_BYTES_MAX + 1);
    let extension = format!("1;{long}\r\n");
    let long = "x".repeat(limits::TRAILER_BYTES_MAX);
    let trailer = format!("0\r\nA: {long}\r\n\r\n");

    for input in [extension, trailer] {
        let read = read(input.as_bytes(), &[1000], Form::Verbatim);
        assert_eq!(read, Err(BodyError::TooLong));
    }
}

#[test]
fn a_length_is_counted_down_and_nothing_behind_it_is_taken() {
    let mut body = Body::Length(5);
    assert_eq!((body.read_limit(100), body.read_limit(4)), (6, 4));

    let first = body.accept(&mut [0; 3], Form::Verbatim);
    let second = body.accept(&mut [0; 7], Form::Verbatim);

    assert_eq!(
        first,
        Ok(Taken {
            kept: 3,
            consumed: 3
        })
    );
    assert_eq!(
        second,
        Ok(Taken {
            kept: 2,
            consumed: 2
        })
    );
    assert!(body.is_done());
}
