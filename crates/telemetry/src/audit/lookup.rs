//! Looking records up, newest first.

use super::segment::{parse, read, segments};
use serde_json::Value;
use std::collections::HashMap;
use std::io;
use std::path::Path;

/// Records that one call looks at. A page may end early by it; the next one goes on.
const LOOKED_AT_MAX: usize = 200_000;

/// Whether an event is wanted, by its body.
pub type Filter = Box<dyn Fn(&Value) -> bool + Send>;

/// What is looked for.
pub struct Lookup {
    /// Events not older than this, milliseconds since the epoch.
    pub since_ms: u64,
    /// Events not newer than this.
    pub until_ms: u64,
    /// Events with a lower number, to go on behind a page.
    pub before: Option<u64>,
    /// A text that the line of an event has to have; it is looked for before anything is taken apart.
    pub containing: Option<String>,
    /// Whether an event is wanted.
    pub wanted: Filter,
    /// Events of a page.
    pub limit: usize,
}

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Its number.
    pub number: u64,
    /// Its id.
    pub id: String,
    /// When it happened, or began.
    pub at_ms: u64,
    /// Its body.
    pub body: Value,
    /// The body of how it ended, for one that was begun; none: it is not known (yet).
    pub end: Option<Value>,
    /// Whether it has an end at all.
    pub begun: bool,
}

/// A page of events.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LookupPage {
    /// The events, newest first.
    pub events: Vec<Found>,
    /// Where the next page goes on; none: there is nothing older.
    pub before: Option<u64>,
}

/// The ends that were met before their beginnings.
type Ends = HashMap<String, Value>;

pub(super) fn run(dir: &Path, lookup: &Lookup) -> io::Result<LookupPage> {
    let mut page = LookupPage::default();
    let mut ends = Ends::new();
    let mut looked_at = 0;
    for path in segments(dir)?.iter().rev() {
        let text = read(path)?;
        for line in text.lines().skip(1).collect::<Vec<_>>().into_iter().rev() {
            looked_at += 1;
            let Some(found) = parse(line).and_then(|line| event(line.json, lookup, &mut ends))
            else {
                continue;
            };
            let found = match found {
                Seen::TooOld => return Ok(page),
                Seen::Other(number) if looked_at >= LOOKED_AT_MAX => {
                    page.before = Some(number);
                    return Ok(page);
                }
                Seen::Other(_) => continue,
                Seen::Event(found) => found,
            };
            if page.events.len() == lookup.limit {
                page.before = page.events.last().map(|it| it.number);
                return Ok(page);
            }
            page.events.push(found);
        }
    }
    Ok(page)
}

enum Seen {
    TooOld,
    Other(u64),
    Event(Found),
}

fn event(json: &str, lookup: &Lookup, ends: &mut Ends) -> Option<Seen> {
    let (number, at_ms) = (super::segment::number(json)?, super::segment::at_ms(json)?);
    let is_end = json.contains(r#","kind":"end","#);
    if !is_end && at_ms < lookup.since_ms {
        return Some(Seen::TooOld);
    }
    let later = at_ms > lookup.until_ms || lookup.before.is_some_and(|before| number >= before);
    let text = lookup.containing.as_deref();
    // The end of an event may stand behind the page, its beginning before it.
    let skipped = !is_end && (later || text.is_some_and(|text| !json.contains(text)));
    if skipped {
        return Some(Seen::Other(number));
    }
    let mut value: Value = serde_json::from_str(json).ok()?;
    let id = value["id"].as_str()?.to_owned();
    let body = value["body"].take();
    if is_end {
        ends.insert(id, body);
        return Some(Seen::Other(number));
    }
    let begun = value["kind"] == "begin";
    let end = ends.remove(&id);
    if !(lookup.wanted)(&body) {
        return Some(Seen::Other(number));
    }
    Some(Seen::Event(Found {
        number,
        id,
        at_ms,
        body,
        end,
        begun,
    }))
}
