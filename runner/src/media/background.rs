//! Writes an output in its own thread, so that frames are encoded while others are made.

use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use image::RgbImage;

use super::{MediaError, Sink};

/// Frames that may wait to be written; more make the caller wait.
const WAITING: usize = 8;

/// A [`Sink`] in a thread of its own. Dropping it without [`BackgroundSink::finish`] leaves
/// nothing behind.
pub struct BackgroundSink {
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<Result<Duration, MediaError>>>,
}

enum Order {
    Write(RgbImage),
    Finish,
}

impl BackgroundSink {
    /// As [`Sink::create`], whose errors may show at the first write or at the end.
    ///
    /// # Errors
    /// [`MediaError::Write`] where the system gives no thread.
    pub fn create(
        path: &Path,
        frames: usize,
        size: (u32, u32),
        fps: u32,
    ) -> Result<Self, MediaError> {
        let (orders, received) = sync_channel(WAITING);
        let target = path.to_path_buf();
        let work = move || write_all(Sink::create(&target, frames, size, fps)?, &received);
        let thread = std::thread::Builder::new().name("write".into()).spawn(work);
        let thread = thread.map_err(|source| MediaError::Write { path: path.into(), source })?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// Hands over the next frame; waits where too many are waiting already.
    ///
    /// # Errors
    /// What the thread failed with, at this frame or an earlier one.
    pub fn write(&mut self, picture: RgbImage) -> Result<(), MediaError> {
        self.order(Order::Write(picture))
    }

    /// Waits for the frames and gives the output its final name; the time that writing took.
    ///
    /// # Errors
    /// Those of [`Sink::write`] and [`Sink::finish`].
    pub fn finish(mut self) -> Result<Duration, MediaError> {
        self.order(Order::Finish)?;
        self.join()
    }

    fn order(&mut self, order: Order) -> Result<(), MediaError> {
        match &self.orders {
            Some(orders) if orders.send(order).is_ok() => Ok(()),
            // The thread has ended early, so it has an error.
            _ => self.join().map(|_| ()),
        }
    }

    fn join(&mut self) -> Result<Duration, MediaError> {
        self.orders = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(Duration::ZERO),
        }
    }
}

impl Drop for BackgroundSink {
    /// Waits until what was begun is gone.
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // Whoever drops an unfinished output has an error of their own.
            let _ = thread.join();
        }
    }
}

/// Writes frames as they come; where they end without [`Order::Finish`] the output is given up.
fn write_all(mut sink: Sink, orders: &Receiver<Order>) -> Result<Duration, MediaError> {
    let mut busy = Duration::ZERO;
    for order in orders {
        let start = Instant::now();
        match order {
            Order::Write(picture) => sink.write(&picture)?,
            Order::Finish => {
                sink.finish()?;
                return Ok(busy + start.elapsed());
            }
        }
        busy += start.elapsed();
    }
    Ok(busy)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use image::Rgb;
    use tempfile::TempDir;

    use super::*;

    fn picture(level: u8) -> RgbImage {
        RgbImage::from_pixel(48, 32, Rgb([level, 90, 200]))
    }

    #[test]
    fn frames_are_written_in_order() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("frames/");
        let mut sink = BackgroundSink::create(&path, 20, (48, 32), 16).unwrap();
        (0..20).for_each(|i| sink.write(picture(10 * i)).unwrap());
        assert!(sink.finish().unwrap() > Duration::ZERO);
        let mut files: Vec<_> = fs::read_dir(&path).unwrap().map(|f| f.unwrap().path()).collect();
        files.sort();
        let levels = files.iter().map(|file| image::open(file).unwrap().to_rgb8()[(0, 0)][0]);
        assert_eq!(levels.collect::<Vec<_>>(), (0..20).map(|i| 10 * i).collect::<Vec<u8>>());
    }

    #[test]
    fn an_error_of_the_thread_reaches_the_caller_and_nothing_is_left() {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("a.mp4");
        let mut sink = BackgroundSink::create(&path, 40, (48, 32), 16).unwrap();
        sink.write(picture(1)).unwrap();
        let wrong = RgbImage::new(16, 16);
        let mut writes = (0..40).map(|_| sink.write(wrong.clone()));
        let error = writes.find_map(Result::err);
        assert!(matches!(error, Some(MediaError::FrameSize { .. })), "{error:?}");
        drop(sink);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_output_that_is_dropped_or_short_leaves_nothing() {
        let folder = TempDir::new().unwrap();
        let start = || {
            let path = folder.path().join("a.mp4");
            let mut sink = BackgroundSink::create(&path, 3, (48, 32), 16).unwrap();
            sink.write(picture(1)).unwrap();
            sink
        };
        drop(start());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(matches!(start().finish(), Err(MediaError::FrameCount { .. })));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
