//! Goes on as records come: what was shown of each segment, between one look and the next.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::Path;

use crate::cat::{Faults, Filter, print};
use crate::look::Look;
use crate::store::listing::{Listed, segments};
use crate::store::name::Kind;

/// Those segments that are being written, and those that were shown to their end. A segment may appear behind one with
/// a higher number, as several writers make them; so it is known by its name, for as long as it is there.
#[derive(Default)]
pub struct Follower {
    growing: BTreeMap<Place, Look>,
    shown: BTreeSet<Place>,
    faults: Faults,
}

/// Where a segment stands among those of its kind: no two have the same number and time.
type Place = (u64, u64);

impl Follower {
    /// Prints what is there now and was not before.
    pub fn look(&mut self, directory: &Path, kind: Kind, filter: &Filter, out: &mut impl Write) -> io::Result<()> {
        let listed = segments(directory, kind)?;
        let places: BTreeSet<_> = listed.iter().map(|segment| place(*segment)).collect();
        let gone: Vec<_> = self.growing.keys().filter(|place| !places.contains(place)).copied().collect();
        for segment in listed {
            let place = place(segment);
            if self.shown.contains(&place) || self.growing.contains_key(&place) {
                continue;
            }
            // One that has nothing in it yet is looked at again.
            let Some(mut look) = Look::open(directory, segment) else { continue };
            match print(&mut look, filter, out)? {
                true => show_end(&look, &mut self.faults, place, &mut self.shown),
                false => drop(self.growing.insert(place, look)),
            }
        }
        let mut ended = Vec::new();
        for (place, look) in &mut self.growing {
            if print(look, filter, out)? || gone.contains(place) {
                show_end(look, &mut self.faults, *place, &mut self.shown);
                ended.push(*place);
            }
        }
        ended.iter().for_each(|place| drop(self.growing.remove(place)));
        self.shown.retain(|place| places.contains(place));
        out.flush()
    }
}

fn place(segment: Listed) -> Place {
    (segment.name.number, segment.name.opened)
}

fn show_end(look: &Look, faults: &mut Faults, place: Place, shown: &mut BTreeSet<Place>) {
    faults.tell(look);
    shown.insert(place);
}
