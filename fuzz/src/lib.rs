//! What several targets make of their bytes.

/// A body, and the pieces that it comes in. The first byte says how many cuts there are (at most seven), and two bytes each where they are.
#[must_use]
pub fn in_pieces(data: &[u8]) -> (&[u8], Vec<&[u8]>) {
    let Some((count, rest)) = data.split_first() else { return (data, vec![data]) };
    let count = usize::from(count % 8);
    let Some((places, body)) = rest.split_at_checked(2 * count) else { return (rest, vec![rest]) };
    let mut cuts: Vec<usize> =
        places.chunks_exact(2).map(|place| usize::from(u16::from_be_bytes([place[0], place[1]])) % (body.len() + 1)).collect();
    cuts.sort_unstable();
    cuts.push(body.len());
    let mut from = 0;
    let pieces = cuts.into_iter().map(|to| &body[std::mem::replace(&mut from, to)..to]).collect();
    (body, pieces)
}
