use proptest::prelude::*;

use super::*;

/// What is handed on of a stream that arrives in pieces of `size`, and the state it ends in.
fn follow(stream: &[u8], size: usize) -> (Vec<u8>, State, u64) {
    let mut follower = Follower::new(4096);
    let (mut held, mut passed) = (Vec::new(), Vec::new());
    for piece in stream.chunks(size) {
        held.extend_from_slice(piece);
        let length = follower.advance(&held);
        passed.extend(held.drain(..length));
    }
    (passed, follower.state, follower.heads)
}

fn streams() -> impl Strategy<Value = Vec<u8>> {
    let parts: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"5\r\nhello\r\n",
        b"1;x=y\r\n\n\r\n",
        b"0\r\n\r\n",
        b"0\r\nx: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nupgrade: a\r\n\r\n",
        b"GET / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nx",
        b"\r\n",
        b"\n",
        b"5",
        b"GET",
    ];
    proptest::collection::vec(proptest::sample::select(parts), 0..8).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn pieces_are_followed_like_the_whole(stream in streams(), size in 1_usize..20) {
        prop_assert_eq!(follow(&stream, size), follow(&stream, stream.len().max(1)));
    }
}

#[test]
fn what_is_handed_on_ends_where_the_last_good_request_ends() {
    let good = "POST / HTTP/1.1\r\ncontent-length: 5\r\n\r\nhelloGET / HTTP/1.1\r\n\r\n";
    let bad = "GET / HTTP/1.1\n\n";
    let (passed, state, heads) = follow(format!("{good}{bad}").as_bytes(), 1000);
    assert_eq!((passed.as_slice(), heads), (good.as_bytes(), 2));
    assert_eq!(state, State::Refused(Refusal::LineEnding));
}
