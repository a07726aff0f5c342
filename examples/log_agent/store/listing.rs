//! The segments of a directory, in their order.

use std::fs;
use std::io;
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

/// All segments of one kind, by number. While one is being compressed it is there twice; it is listed once.
pub fn segments(directory: &Path, kind: Kind) -> io::Result<Vec<Listed>> {
    let mut listed = Vec::new();
    each_segment(directory, |segment| {
        if segment.name.kind == kind {
            listed.push(segment);
        }
    })?;
    listed.sort_by_key(|segment| (segment.name.number, segment.packing));
    listed.dedup_by_key(|segment| segment.name.number);
    Ok(listed)
}
