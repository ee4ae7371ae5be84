//! Reuses memory that nobody else holds, so that a loop allocates in its first turns only.

use std::sync::Arc;

/// Pieces of memory for one tensor of a session, with their sizes in bytes. A tensor that was
/// handed out holds its piece; once it is dropped the piece is free again.
pub(in crate::backend) struct Pool<T> {
    pieces: Vec<(usize, Arc<T>)>,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self { pieces: vec![] }
    }
}

impl<T> Pool<T> {
    /// Bytes of all pieces.
    pub(in crate::backend) fn bytes(&self) -> usize {
        self.pieces.iter().map(|(bytes, _)| bytes).sum()
    }

    /// All pieces, handed out or free.
    pub(in crate::backend) fn pieces(&self) -> impl Iterator<Item = &Arc<T>> {
        self.pieces.iter().map(|(_, piece)| piece)
    }

    /// The smallest free piece of at least `bytes`, else a new one, for which free pieces that are
    /// too small make room.
    pub(in crate::backend) fn take<E>(
        &mut self,
        bytes: usize,
        allocate: impl FnOnce(usize) -> Result<Arc<T>, E>,
    ) -> Result<Arc<T>, E> {
        let free = |piece: &Arc<T>| Arc::strong_count(piece) == 1;
        let fitting = self.pieces.iter().filter(|(size, piece)| *size >= bytes && free(piece));
        if let Some((_, piece)) = fitting.min_by_key(|(size, _)| *size) {
            return Ok(Arc::clone(piece));
        }
        self.pieces.retain(|(_, piece)| !free(piece));
        let piece = allocate(bytes)?;
        self.pieces.push((bytes, Arc::clone(&piece)));
        Ok(piece)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn take(pool: &mut Pool<usize>, bytes: usize, made: &mut usize) -> Arc<usize> {
        let allocate = |_| {
            *made += 1;
            Ok::<_, Infallible>(Arc::new(*made))
        };
        pool.take(bytes, allocate).unwrap_or_else(|never| match never {})
    }

    #[test]
    fn caches_ping_pong_between_two_pieces() {
        let (mut pool, mut made) = (Pool::default(), 0);
        let mut held = take(&mut pool, 10, &mut made);
        for _ in 0..5 {
            let next = take(&mut pool, 10, &mut made);
            assert!(!Arc::ptr_eq(&held, &next), "a piece that is held is never given out");
            held = next;
        }
        assert_eq!(made, 2);
    }

    #[test]
    fn small_free_pieces_make_room_and_large_ones_serve_small_tensors() {
        let (mut pool, mut made) = (Pool::default(), 0);
        drop(take(&mut pool, 10, &mut made));
        let large = take(&mut pool, 30, &mut made);
        assert_eq!((made, pool.pieces.len()), (2, 1));
        drop(large);
        assert_eq!(*take(&mut pool, 7, &mut made), 2);
        assert_eq!((made, pool.bytes()), (2, 30));
    }

    #[test]
    fn a_failed_allocation_leaves_the_pool_usable() {
        let (mut pool, mut made) = (Pool::default(), 0);
        assert_eq!(pool.take(10, |_| Err("no room")).unwrap_err(), "no room");
        take(&mut pool, 10, &mut made);
        assert_eq!(made, 1);
    }
}
