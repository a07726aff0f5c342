//! The segments of a directory, in their order.

use std::fs;
use std::io;
use std::iter;
use std::path::Path;

use super::name::{Kind, Packing, SegmentName};

/// A segment that lies in a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    pub name: SegmentName,
    pub packing: Packing,
}

/// Calls `each` with every segment of `directory`, in whatever order they are found. Holds no list, however many there
/// are.
pub fn each_segment(directory: &Path, mut each: impl FnMut(Listed)) -> io::Result<()> {
    for file in fs::read_dir(directory)? {
        let file = file?.file_name();
        if let Some((name, packing)) = file.to_str().and_then(SegmentName::parse_data) {
            each(Listed { name, packing });
        }
    }
    Ok(())
}

/// All segments of one kind, by number. One that is there both plain and packed is listed once, as the plain one.
///
/// A file that is renamed or removed while a directory is read may not be seen at all. The index stays when its segment
/// is packed, so a segment of which only the index was seen is looked for by its name.
pub fn segments(directory: &Path, kind: Kind) -> io::Result<Vec<Listed>> {
    let mut seen = Vec::new();
    for file in fs::read_dir(directory)? {
        let file = file?.file_name();
        let Some(file) = file.to_str() else { continue };
        let data = SegmentName::parse_data(file).map(|(name, packing)| (name, Some(packing)));
        let named = data.or_else(|| SegmentName::parse_index(file).map(|name| (name, None)));
        seen.extend(named.filter(|(name, _)| name.kind == kind));
    }
    // Names of one kind differ in their numbers or their times. Those of an index come last.
    seen.sort_by_key(|(name, packing)| (name.number, name.opened, packing.is_none(), *packing));
    seen.dedup_by_key(|(name, _)| *name);
    let listed = seen.into_iter().filter_map(|(name, packing)| {
        let packing = packing.or_else(|| packings(Packing::Plain).find(|form| is_there(directory, name, *form)))?;
        Some(Listed { name, packing })
    });
    Ok(listed.collect())
}

/// As what a segment may lie there that was `packing` a moment ago. In this order none is missed: it is packed before
/// the plain one goes.
pub fn packings(packing: Packing) -> impl Iterator<Item = Packing> {
    let packed = [Packing::Gzip, Packing::Zstd].into_iter().filter(move |_| packing == Packing::Plain);
    iter::once(packing).chain(packed)
}

/// True if an index has no segment, in no form, and not even a link to one.
pub fn is_alone(directory: &Path, name: SegmentName) -> bool {
    packings(Packing::Plain).all(|form| {
        let found = fs::symlink_metadata(directory.join(name.data(form)));
        found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    })
}

/// True if that form of a segment is there.
pub fn is_there(directory: &Path, name: SegmentName, packing: Packing) -> bool {
    directory.join(name.data(packing)).exists()
}
