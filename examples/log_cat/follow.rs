//! Goes on as records come: what was shown of each segment, between one look and the next.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::mem;
use std::path::Path;

use crate::cat::{Faults, Filter, print};
use crate::look::Look;
use crate::store::listing::{Listed, segments};
use crate::store::name::Kind;

/// What was shown of the segments that are there.
#[derive(Default)]
pub struct Follower {
    /// Those that are being written, and as `None` those that were shown to their end. A segment may appear behind one
    /// with a higher number, as several writers make them; so it is known by its name, for as long as it is there.
    known: BTreeMap<Place, Option<Look>>,
    faults: Faults,
}

/// Where a segment stands among those of its kind: no two have the same number and time.
type Place = (u64, u64);

impl Follower {
    /// Prints what is there now and was not before: of each connection in its order, because whoever writes ends one
    /// segment before it begins the next.
    pub fn look(&mut self, directory: &Path, kind: Kind, filter: &Filter, out: &mut impl Write) -> io::Result<()> {
        let listed = segments(directory, kind)?;
        let mut before = mem::take(&mut self.known);
        let listed: Vec<_> = listed.into_iter().map(|segment| (segment, before.remove(&place(segment)))).collect();
        // What is left of those has been deleted.
        for mut look in before.into_values().flatten() {
            print(&mut look, filter, out)?;
            self.faults.tell(&look);
        }
        for (segment, known) in listed {
            let mut look = match known {
                Some(known) => known,
                // One that has nothing in it yet is looked at again.
                None => match Look::open(directory, segment) {
                    None => continue,
                    opened => opened,
                },
            };
            if let Some(growing) = &mut look
                && print(growing, filter, out)?
            {
                self.faults.tell(growing);
                look = None;
            }
            self.known.insert(place(segment), look);
        }
        out.flush()
    }
}

fn place(segment: Listed) -> Place {
    (segment.name.number, segment.name.opened)
}
