//! Sparse files: the maps of GNU tar, in its own header (`S`) and in its three PAX forms (GNU tar manual, "Storing Sparse
//! Files").

use super::Stop;
use super::pax::number;

/// Most data regions of one file.
const REGIONS_MAX: usize = 65_536;

/// A region with data; what is between regions is a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// Where the stored bytes of a file belong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Map {
    /// The file's size with its holes.
    pub(super) size: u64,
    pub(super) regions: Vec<Region>,
}

/// The `GNU.sparse.*` records of a PAX header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SparseRecords {
    pub(super) name: Option<Vec<u8>>,
    major: Option<u64>,
    size: Option<u64>,
    numbers: Vec<u64>,
}

impl SparseRecords {
    pub(super) fn take(&mut self, key: &[u8], value: &[u8]) -> Result<(), Stop> {
        match key {
            b"name" => self.name = Some(value.to_owned()),
            b"major" => self.major = Some(number(value)?),
            b"size" | b"realsize" => self.size = Some(number(value)?),
            b"offset" | b"numbytes" => self.push(number(value)?)?,
            b"map" => {
                for part in value.split(|b| *b == b',').filter(|part| !part.is_empty()) {
                    self.push(number(part)?)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn push(&mut self, value: u64) -> Result<(), Stop> {
        if self.numbers.len() >= 2 * REGIONS_MAX {
            return Err(too_many());
        }
        self.numbers.push(value);
        Ok(())
    }

    /// Whether the file's data starts with its map (form 1.0).
    pub(super) fn map_in_data(&self) -> bool {
        self.major == Some(1)
    }

    /// The file's size with its holes, when this is a sparse file.
    pub(super) fn real_size(&self) -> Option<u64> {
        self.size
    }

    /// The map of forms 0.0 and 0.1, when this is such a file; `stored` is how many bytes the archive has.
    pub(super) fn map(&self, stored: u64) -> Result<Option<Map>, Stop> {
        match (self.size, self.map_in_data() || self.numbers.is_empty()) {
            (Some(size), false) => Map::new(size, pairs(&self.numbers)?, stored).map(Some),
            _ => Ok(None),
        }
    }
}

impl Map {
    /// Checks that regions are in order, within the file, and hold exactly the stored bytes.
    pub(super) fn new(size: u64, regions: Vec<Region>, stored: u64) -> Result<Map, Stop> {
        let (mut end, mut sum) = (0u64, 0u64);
        for region in &regions {
            if region.offset < end {
                return Err(damaged());
            }
            end = region
                .offset
                .checked_add(region.length)
                .ok_or_else(damaged)?;
            sum = sum.saturating_add(region.length);
        }
        match end <= size && sum == stored && regions.len() <= REGIONS_MAX {
            true => Ok(Map { size, regions }),
            false => Err(damaged()),
        }
    }

    /// The map of a file without holes.
    pub(super) fn whole(size: u64) -> Map {
        Map {
            size,
            regions: vec![Region {
                offset: 0,
                length: size,
            }],
        }
    }
}

/// Reads the map at the start of a file's data (form 1.0): decimal numbers, one per line, first the count of regions.
/// `next_block` gives the next 512 bytes.
pub(super) fn map_from_data(
    size: u64,
    stored: u64,
    mut next_block: impl FnMut() -> Result<[u8; 512], Stop>,
) -> Result<Map, Stop> {
    let mut block = next_block()?;
    let (mut at, mut used) = (0, 512u64);
    let mut next_number = || -> Result<u64, Stop> {
        let mut text = Vec::new();
        loop {
            if at == block.len() {
                block = next_block()?;
                (at, used) = (0, used + 512);
            }
            let byte = block[at];
            at += 1;
            match byte {
                b'\n' => return number(&text),
                _ if text.len() < 20 => text.push(byte),
                _ => return Err(damaged()),
            }
        }
    };
    let count = usize::try_from(next_number()?).unwrap_or(usize::MAX);
    if count > REGIONS_MAX {
        return Err(too_many());
    }
    let mut numbers = Vec::new();
    for _ in 0..2 * count {
        numbers.push(next_number()?);
    }
    let rest = stored.checked_sub(used).ok_or_else(damaged)?;
    Map::new(size, pairs(&numbers)?, rest)
}

fn pairs(numbers: &[u64]) -> Result<Vec<Region>, Stop> {
    let chunks = numbers.chunks_exact(2);
    match chunks.remainder().is_empty() {
        true => Ok(chunks
            .map(|pair| Region {
                offset: pair[0],
                length: pair[1],
            })
            .collect()),
        false => Err(damaged()),
    }
}

pub(super) fn damaged() -> Stop {
    Stop::Invalid("it has a sparse file with a damaged map".to_owned())
}

pub(super) fn too_many() -> Stop {
    Stop::TooLarge(format!("{REGIONS_MAX} regions in a sparse file"))
}

/// Whether one more region may be added.
pub(super) fn check_count(regions: &[Region]) -> Result<(), Stop> {
    match regions.len() < REGIONS_MAX {
        true => Ok(()),
        false => Err(too_many()),
    }
}
