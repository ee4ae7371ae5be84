//! External data: which tensor lies where, and the one pass that puts it there.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use bernini_calibration::balance::Fold;
use bernini_graphs::manifest::FileEntry;
use bernini_graphs::{DType, Graph, Layout, Magnitudes, Weight};
use rayon::prelude::*;

use crate::cast::{bytes_of, cast};
use crate::checkpoint::{ComponentTensors, StoredType, Tensor};
use crate::export::ExportError;
use crate::magnitudes::Largest;
use crate::output::{PartialFile, Progress, at};
use crate::rearrange::{rearrange, unit};

/// Elements that are read and cast at a time, about.
const BLOCK: u64 = 1 << 20;
/// Bytes of output that are made between two writes; five such batches are alive at most.
const BATCH: u64 = 64 << 20;
/// Tensors of a page or more begin on a page, so that they can be mapped.
const PAGE: u64 = 4096;
/// Alignment of smaller ones.
const SMALL: u64 = 64;
/// What lies between two tensors.
const ZEROS: [u8; PAGE as usize] = [0; PAGE as usize];

/// One tensor of a weights file.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedTensor {
    /// Type in the file.
    pub dtype: DType,
    /// Number of elements.
    pub elements: u64,
    /// Source tensor, layout and scale.
    pub weight: Weight,
    /// Factors of its rows or columns, as the checkpoint orders them.
    pub fold: Option<Fold>,
    /// Position in the file.
    pub offset: u64,
}

/// Everything that decides the content of one weights file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WeightsPlan {
    /// Tensors in file order.
    pub tensors: Vec<PlannedTensor>,
    /// Initializer → position.
    pub offsets: BTreeMap<String, u64>,
    /// Size of the file.
    pub bytes: u64,
}

impl WeightsPlan {
    /// Lays out the weights of `graphs`, which share one file; `fold` gives the factors of a tensor.
    pub fn new<'g>(
        graphs: impl IntoIterator<Item = &'g Graph>,
        fold: impl Fn(&str) -> Option<Fold>,
    ) -> Self {
        let mut plan = Self::default();
        for (init, weight) in graphs.into_iter().flat_map(Graph::weights) {
            if !plan.offsets.contains_key(&init.name) {
                plan.push(
                    &init.name,
                    init.dtype,
                    init.bytes(),
                    weight.clone(),
                    fold(&weight.tensor),
                );
            }
        }
        plan
    }

    /// A file that holds `tensor` alone, behind `start` bytes that someone else writes.
    pub fn table(tensor: &str, dtype: DType, elements: u64, start: u64) -> Self {
        let weight =
            Weight { tensor: tensor.into(), layout: Layout::AsIs, scale: None, magnitudes: None };
        let bytes = start + elements * dtype.bytes() as u64;
        let tensors = vec![PlannedTensor { dtype, elements, weight, fold: None, offset: start }];
        Self { tensors, offsets: BTreeMap::new(), bytes }
    }

    fn push(&mut self, name: &str, dtype: DType, bytes: u64, weight: Weight, fold: Option<Fold>) {
        let offset = self.bytes.next_multiple_of(if bytes >= PAGE { PAGE } else { SMALL });
        let elements = bytes / dtype.bytes() as u64;
        self.tensors.push(PlannedTensor { dtype, elements, weight, fold, offset });
        self.offsets.insert(name.into(), offset);
        self.bytes = offset + bytes;
    }

    /// blake3, in hex, of everything that decides the content besides the checkpoint.
    pub fn hash(&self) -> String {
        let text = format!("{} {:?}", env!("CARGO_PKG_VERSION"), self.tensors);
        blake3::hash(text.as_bytes()).to_hex().to_string()
    }
}

/// A piece of one tensor: what is read, cast and written at a time.
struct Block<'a> {
    planned: &'a PlannedTensor,
    source: &'a Tensor,
    start: u64,
    count: u64,
    /// Zeros in front of it, less than a page.
    padding: usize,
}

impl Block<'_> {
    fn convert(&self) -> Result<Vec<u8>, ExportError> {
        if let Some(side) = self.planned.weight.magnitudes {
            return self.magnitudes(side);
        }
        let bytes = self.source.read(self.start, self.count as usize)?;
        let (bytes, dtype) = match &self.planned.fold {
            None => (bytes, self.source.dtype),
            Some(_) => {
                let values = self.floats(bytes, self.start as usize)?;
                (bytes_of(values.into_iter(), f32::to_le_bytes), StoredType::F32)
            }
        };
        let size = dtype.bytes() as usize;
        let bytes = rearrange(bytes, size, self.planned.weight.layout, &self.source.shape);
        let scale = self.planned.weight.scale.unwrap_or(1.0);
        cast(bytes, dtype, self.planned.dtype, scale).ok_or_else(|| self.wrong_type())
    }

    /// The largest magnitudes of the whole matrix along `side`, f32.
    fn magnitudes(&self, side: Magnitudes) -> Result<Vec<u8>, ExportError> {
        let (columns, total) = (self.columns(), self.source.shape.iter().product());
        let none = || Largest::new(side, [total / columns, columns]);
        let starts = (0..total).into_par_iter().step_by(BLOCK as usize);
        let read = starts.map(|start| {
            let bytes = self.source.read(start as u64, (total - start).min(BLOCK as usize))?;
            let mut largest = none();
            largest.add(start, &self.floats(bytes, start)?);
            Ok::<_, ExportError>(largest)
        });
        let largest = read.try_reduce(none, |a, b| Ok(a.or(b)))?;
        Ok(largest.bytes(self.planned.weight.layout))
    }

    /// Elements of `bytes`, which begin at element `start`, in f32 and times the factors of their rows
    /// or columns.
    fn floats(&self, bytes: Vec<u8>, start: usize) -> Result<Vec<f32>, ExportError> {
        let bytes = cast(bytes, self.source.dtype, DType::F32, 1.0);
        let bytes = bytes.ok_or_else(|| self.wrong_type())?;
        let mut values: Vec<f32> =
            bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        if let Some(fold) = &self.planned.fold {
            fold.apply(&mut values, start, self.columns());
        }
        Ok(values)
    }

    fn columns(&self) -> usize {
        self.source.shape.iter().skip(1).product()
    }

    fn wrong_type(&self) -> ExportError {
        let tensor = self.planned.weight.tensor.clone();
        ExportError::StoredType { tensor, found: self.source.dtype.name() }
    }
}

/// Cuts the tensors of `plan` into blocks in file order, from position `end` on.
fn blocks<'a>(
    plan: &'a WeightsPlan,
    tensors: &'a ComponentTensors,
    mut end: u64,
) -> Vec<Block<'a>> {
    let mut blocks = vec![];
    for planned in &plan.tensors {
        let Some(source) = tensors.tensors.get(&planned.weight.tensor) else { continue };
        let unit = match planned.weight.magnitudes {
            Some(_) => planned.elements,
            None => unit(planned.weight.layout, &source.shape),
        };
        let step = (BLOCK / unit).max(1) * unit;
        let mut start = 0;
        while start < planned.elements {
            let count = step.min(planned.elements - start);
            let offset = planned.offset + start * planned.dtype.bytes() as u64;
            let padding = (offset - end) as usize;
            blocks.push(Block { planned, source, start, count, padding });
            start += count;
            end = offset + count * planned.dtype.bytes() as u64;
        }
    }
    blocks
}

/// Consecutive blocks of about [`BATCH`] bytes.
fn batches<'b, 'a>(blocks: &'b [Block<'a>]) -> Vec<&'b [Block<'a>]> {
    let (mut batches, mut rest) = (vec![], blocks);
    while !rest.is_empty() {
        let mut bytes = 0;
        let count = rest.iter().take_while(|block| {
            bytes += block.count * block.planned.dtype.bytes() as u64;
            bytes <= BATCH
        });
        let (batch, tail) = rest.split_at(count.count().max(1));
        batches.push(batch);
        rest = tail;
    }
    batches
}

/// Writes the file `name` of `plan` below `root`, after `head`.
///
/// Blocks are read and cast on all cores while those before are hashed, written and flushed.
/// `progress` is told the bytes of every batch.
pub fn write(
    root: &Path,
    name: &str,
    head: &[u8],
    plan: &WeightsPlan,
    tensors: &ComponentTensors,
    cancelled: &AtomicBool,
    progress: &dyn Progress,
) -> Result<FileEntry, ExportError> {
    let path = root.join(name);
    let partial = PartialFile::create(&path)?;
    let blocks = blocks(plan, tensors, head.len() as u64);
    let blake3 = thread::scope(|scope| {
        let (sender, receiver) = sync_channel(1);
        let writer = scope.spawn(|| drain(&partial, head, receiver, progress));
        let produced = produce(&batches(&blocks), &sender, cancelled);
        drop(sender);
        let hash = writer.join().expect("invariant: the writer does not panic");
        produced.and(hash.map_err(|source| at(&path)(source).into()))
    })?;
    partial.finish()?;
    Ok(FileEntry { file: name.into(), bytes: plan.bytes, blake3 })
}

/// The pieces of a file in order.
type Batch = Vec<Piece>;

/// Bytes that follow `padding` zeros.
struct Piece {
    padding: usize,
    bytes: Vec<u8>,
}

fn produce(
    batches: &[&[Block<'_>]],
    sender: &SyncSender<Batch>,
    cancelled: &AtomicBool,
) -> Result<(), ExportError> {
    for batch in batches {
        let convert = |block: &Block<'_>| {
            if cancelled.load(Ordering::Relaxed) {
                return Err(ExportError::Cancelled);
            }
            Ok(Piece { padding: block.padding, bytes: block.convert()? })
        };
        let batch = batch.par_iter().map(convert).collect::<Result<Batch, _>>()?;
        if sender.send(batch).is_err() {
            // The writer has failed and will say why.
            return Ok(());
        }
    }
    Ok(())
}

/// Sends what was written to the disk while more is on its way: the last fsync finds little.
fn flush(partial: &PartialFile, due: Receiver<()>) -> io::Result<()> {
    due.into_iter().try_for_each(|()| partial.file().sync_data())
}

/// Writes batches in order while others hash and flush them; returns the file's hash in hex.
fn drain(
    partial: &PartialFile,
    head: &[u8],
    batches: Receiver<Batch>,
    progress: &dyn Progress,
) -> io::Result<String> {
    thread::scope(|scope| {
        let (hashed, to_hash) = sync_channel(1);
        let (dirty, flushes) = sync_channel(1);
        let hasher = scope.spawn(|| hash(head, to_hash));
        let flusher = scope.spawn(|| flush(partial, flushes));
        let put = |bytes: &[u8]| partial.file().write_all(bytes);
        let write = |batch: Batch| {
            let batch = Arc::new(batch);
            // Never closed before the last batch: the hasher ends when this end does.
            let _ = hashed.send(Arc::clone(&batch));
            for Piece { padding, bytes } in batch.iter() {
                put(&ZEROS[..*padding])?;
                put(bytes)?;
            }
            progress.advance(batch.iter().map(|p| (p.padding + p.bytes.len()) as u64).sum());
            // Full means that a flush is due anyway.
            let _ = dirty.try_send(());
            Ok(())
        };
        let written = put(head).and_then(|()| batches.into_iter().try_for_each(write));
        drop((hashed, dirty));
        let flushed = flusher.join().expect("invariant: the flusher does not panic");
        let hash = hasher.join().expect("invariant: the hasher does not panic");
        written.and(flushed).map(|()| hash)
    })
}

fn hash(head: &[u8], batches: Receiver<Arc<Batch>>) -> String {
    let mut hash = blake3::Hasher::new();
    hash.update(head);
    for batch in batches {
        for Piece { padding, bytes } in batch.iter() {
            hash.update(&ZEROS[..*padding]).update_rayon(bytes);
        }
    }
    hash.finalize().to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_tensors_begin_on_pages_and_nothing_overlaps() {
        let mut plan = WeightsPlan::default();
        let weight =
            Weight { tensor: "x".into(), layout: Layout::AsIs, scale: None, magnitudes: None };
        for (name, bytes) in [("a", 6), ("b", 5000), ("c", 64), ("d", 4096)] {
            plan.push(name, DType::Bf16, bytes, weight.clone(), None);
        }
        let offsets: Vec<_> = ["a", "b", "c", "d"].map(|name| plan.offsets[name]).into();
        assert_eq!(offsets, [0, 4096, 9152, 12288]);
        assert_eq!(plan.bytes, 16384);
    }
}
