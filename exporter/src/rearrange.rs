//! The order of elements: from the checkpoint's to the graph's.

use bernini_graphs::Layout;

/// Elements per row of the first axis.
fn row(shape: &[usize]) -> u64 {
    shape.iter().skip(1).map(|&n| n as u64).product::<u64>().max(1)
}

/// Elements that a layout moves about together: a block holds whole ones.
pub fn unit(layout: Layout, shape: &[usize]) -> u64 {
    match layout {
        Layout::AsIs => 1,
        Layout::RotateHalf { head_dim } => head_dim as u64 * row(shape),
        Layout::ChannelsLast => row(shape),
    }
}

/// Puts elements of `size` bytes into the order that the graph expects.
pub fn rearrange(bytes: Vec<u8>, size: usize, layout: Layout, shape: &[usize]) -> Vec<u8> {
    match (layout, shape) {
        (Layout::RotateHalf { head_dim }, _) => {
            let row = row(shape) as usize * size;
            let even_then_odd = (0..head_dim).step_by(2).chain((1..head_dim).step_by(2));
            let order: Vec<_> = even_then_odd.collect();
            permute(&bytes, row, &order)
        }
        (Layout::ChannelsLast, &[_, c, 1, ph, pw]) => {
            let pixels = ph * pw;
            let order: Vec<_> =
                (0..pixels).flat_map(|p| (0..c).map(move |c| c * pixels + p)).collect();
            permute(&bytes, size, &order)
        }
        _ => bytes,
    }
}

/// Within every group of `order.len()` chunks: chunk i of the result is chunk `order[i]`.
fn permute(bytes: &[u8], chunk: usize, order: &[usize]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    for group in bytes.chunks_exact(chunk * order.len()) {
        for &i in order {
            out.extend_from_slice(&group[i * chunk..(i + 1) * chunk]);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotate_half_takes_even_rows_of_each_head_first() {
        let rows: Vec<u8> = (0..12).flat_map(|row| [row, 100 + row]).collect();
        let layout = Layout::RotateHalf { head_dim: 6 };
        let out = rearrange(rows, 1, layout, &[12, 2]);
        let first: Vec<_> = out.chunks(2).map(|row| row[0]).collect();
        assert_eq!(first, [0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]);
        assert!(out.chunks(2).all(|row| row[1] == 100 + row[0]));
    }

    #[test]
    fn rotate_half_of_a_vector_permutes_elements() {
        let values: Vec<u8> = (0..8u16).flat_map(u16::to_le_bytes).collect();
        let out = rearrange(values, 2, Layout::RotateHalf { head_dim: 4 }, &[8]);
        let low: Vec<_> = out.iter().step_by(2).copied().collect();
        assert_eq!(low, [0, 2, 1, 3, 4, 6, 5, 7]);
    }

    #[test]
    fn channels_last_turns_c_ph_pw_into_ph_pw_c() {
        let (c, ph, pw) = (3, 2, 2);
        let weights: Vec<u8> = (0..2 * c * ph * pw).collect();
        let shape = [2, c, 1, ph, pw].map(usize::from);
        let out = rearrange(weights, 1, Layout::ChannelsLast, &shape);
        assert_eq!(out[..12], [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]);
        assert_eq!(out[12], 12);
    }
}
