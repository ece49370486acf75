//! What a made-up console shows: one blue surface, in as few of SPICE's messages as a viewer needs to show a picture. Called
//! by `console`.

/// Octets of a short header: the kind of a message and its length.
pub(super) const SHORT_HEADER: usize = 6;
/// The longest message of a viewer that is taken for one.
const LONGEST: u32 = 1 << 16;
/// The greatest kind that viewers' messages have.
const KINDS: std::ops::RangeInclusive<u16> = 1..=120;
/// The kinds of channels that are shown.
const DISPLAY: u8 = 2;
/// What a viewer asks for on its main channel (`SPICE_MSGC_MAIN_ATTACH_CHANNELS`) and on a display (`…_DISPLAY_INIT`).
const ATTACH_CHANNELS: u16 = 104;
const DISPLAY_INIT: u16 = 101;
/// The size of the surface.
const WIDTH: u32 = 640;
const HEIGHT: u32 = 480;
const BLUE: u32 = 0x0020_4080;

/// A viewer's message: its kind and the length of what follows; nothing where these octets are none.
pub(super) fn message(header: [u8; SHORT_HEADER]) -> Option<(u16, u32)> {
    let [low, high, length @ ..] = header;
    let (kind, length) = (u16::from_le_bytes([low, high]), u32::from_le_bytes(length));
    (KINDS.contains(&kind) && length <= LONGEST).then_some((kind, length))
}

/// What is said to a message on a channel.
pub(super) fn answer(main: bool, kind: u16) -> Vec<u8> {
    match (main, kind) {
        (true, ATTACH_CHANNELS) => said(104, &[1u32.to_le_bytes().to_vec(), vec![DISPLAY, 0]].concat()),
        (false, DISPLAY_INIT) => picture(),
        _ => Vec::new(),
    }
}

/// A primary surface of 32 bits a pixel (`SPICE_MSG_DISPLAY_SURFACE_CREATE`), that it is all there is (`…_MARK`), and one
/// colour over the whole of it (`…_DRAW_FILL`).
fn picture() -> Vec<u8> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let surface = words(&[0, WIDTH, HEIGHT, 32, 1]);
    // The surface, the rectangle by top, left, bottom and right; not clipped; a solid brush.
    let mut fill = words(&[0, 0, 0, HEIGHT, WIDTH]);
    fill.extend([0, 1]);
    fill.extend(BLUE.to_le_bytes());
    // Put; without a mask.
    fill.extend(8u16.to_le_bytes());
    fill.push(0);
    fill.extend(words(&[0, 0, 0]));
    [said(314, &surface), said(102, &[]), said(302, &fill)].concat()
}

fn said(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut octets = kind.to_le_bytes().to_vec();
    octets.extend(u32::try_from(body.len()).unwrap_or_default().to_le_bytes());
    octets.extend(body);
    octets
}
