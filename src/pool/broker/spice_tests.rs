//! Link messages as viewers and servers write them, and what is none.

use proptest::prelude::*;

use super::*;

/// A client's body with one word of common capabilities.
fn client(session: u32, channel: u8, capabilities: u32) -> Vec<u8> {
    let mut body = session.to_le_bytes().to_vec();
    body.extend([channel, 0]);
    for word in [1, 0, 18, capabilities] {
        body.extend(u32::to_le_bytes(word));
    }
    body
}

fn server(capabilities: u32) -> Vec<u8> {
    let mut body = 0u32.to_le_bytes().to_vec();
    body.extend([7; KEY]);
    for word in [1, 0, 178, capabilities] {
        body.extend(u32::to_le_bytes(word));
    }
    body
}

#[test]
fn a_link_message_tells_session_and_channel() {
    let link = Link::parse(&client(0x0102_0304, 3, 0b1001)).unwrap();
    assert_eq!((link.session, link.channel, link.number), (0x0102_0304, Channel::Inputs, 0));
    let mut header = [0; HEADER];
    header[..4].copy_from_slice(&MAGIC);
    header[12] = 22;
    assert_eq!(body_size(&header), Ok(22));
    header[15] = 1;
    assert_eq!(body_size(&header), Err(Malformed::Size(0x0100_0016)));
    header[0] = b'G';
    assert_eq!(body_size(&header), Err(Malformed::Magic));
}

#[test]
fn the_ticket_is_asked_for_with_another_key_and_never_by_sasl() {
    let mut body = server(0b1111);
    Reply::stand_in(&mut body, &[9; KEY]).unwrap();
    let reply = Reply::parse(&body).unwrap();
    assert_eq!((reply.key, reply.capabilities), ([9; KEY], 0b1011));
    let link = Link::parse(&client(0, 1, 0b1001)).unwrap();
    assert!(selects_authentication(&link, &reply));
    let mut pointing_at_the_key = server(0b1111);
    pointing_at_the_key[4 + KEY + 8] = 4;
    assert_eq!(Reply::parse(&pointing_at_the_key), Err(Malformed::Capabilities));
}

#[test]
fn a_refusal_is_read_as_one() {
    let message = refusal(ERROR_PERMISSION_DENIED);
    let header: &[u8; HEADER] = message[..HEADER].try_into().unwrap();
    assert_eq!(body_size(header).unwrap(), message.len() - HEADER);
    assert_eq!(Reply::parse(&message[HEADER..]).unwrap().error, ERROR_PERMISSION_DENIED);
}

/// Messages of a main channel: (type, size of the body filled with `filler`).
fn stream(mini: bool, messages: &[(u16, Vec<u8>)]) -> Vec<u8> {
    let mut octets = Vec::new();
    for (kind, body) in messages {
        if !mini {
            octets.extend([0; 8]);
        }
        octets.extend(kind.to_le_bytes());
        octets.extend(u32::try_from(body.len()).unwrap().to_le_bytes());
        if !mini {
            octets.extend([0; 4]);
        }
        octets.extend(body);
    }
    octets
}

proptest! {
    /// However the stream is cut into pieces and whatever comes before, the session's number is found.
    #[test]
    fn the_number_of_the_session_is_found(
        mini: bool,
        before in proptest::collection::vec((1u16..100, 0usize..30), 0..4),
        session: u32,
        piece in 1usize..40,
    ) {
        let mut messages: Vec<_> = before.iter().map(|(kind, size)| (*kind, vec![103; *size])).collect();
        let mut body = session.to_le_bytes().to_vec();
        body.extend([1; 28]);
        messages.push((103, body));
        let octets = stream(mini, &messages);
        let capabilities = if mini { 0b1001 } else { 0b0001 };
        let link = Link::parse(&client(0, 1, capabilities)).unwrap();
        let reply = Reply::parse(&server(0b1111)).unwrap();
        let mut finder = SessionFinder::new(&link, &reply);
        let found = octets.chunks(piece).find_map(|piece| finder.feed(piece));
        prop_assert_eq!(found, Some(Some(session)));
    }

    /// No octets that a station or a guest can send make the reading fail otherwise than by saying so.
    #[test]
    fn nothing_that_is_read_crashes(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Link::parse(&octets);
        let _ = Reply::parse(&octets);
        let mut body = octets.clone();
        let _ = Reply::stand_in(&mut body, &[0; KEY]);
        let link = Link::parse(&client(0, 1, 9)).unwrap();
        let reply = Reply::parse(&server(9)).unwrap();
        let mut finder = SessionFinder::new(&link, &reply);
        let _ = finder.feed(&octets);
    }
}
