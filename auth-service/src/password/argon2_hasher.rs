//! Argon2id whose memory comes from the operating system and goes back to it after each hash.
//!
//! A hash takes 19 MiB or more. An allocator keeps what was freed for later, and this would be more than all else that the service keeps.

use std::fmt;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::password_hash::{CustomizedPasswordHasher, Error, PasswordHasher, Result};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use memmap2::{MmapMut, MmapOptions};

/// Hashes and compares passwords as [`Argon2`] does, but that no comparison takes less time than a hash of its own cost: users whose hash
/// was made with less are not told apart by it from those that don't exist.
#[derive(Clone)]
pub(super) struct Argon2Hasher {
    params: Params,
}

impl Argon2Hasher {
    /// Argon2id, in its version 1.3, at this cost.
    pub(super) fn new(params: Params) -> Self {
        Self { params }
    }
}

impl fmt::Debug for Argon2Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Argon2Hasher").field("params", &self.params).finish()
    }
}

impl PasswordHasher<PasswordHash> for Argon2Hasher {
    fn hash_password_with_salt(&self, password: &[u8], salt: &[u8]) -> Result<PasswordHash> {
        self.hash_password_customized(password, salt, None, None, self.params.clone())
    }
}

impl CustomizedPasswordHasher<PasswordHash> for Argon2Hasher {
    type Params = Params;

    fn hash_password_customized(
        &self,
        password: &[u8],
        salt: &[u8],
        algorithm: Option<&str>,
        version: Option<u32>,
        params: Params,
    ) -> Result<PasswordHash> {
        let algorithm = algorithm.map_or(Ok(Algorithm::Argon2id), Algorithm::try_from)?;
        let version = version.map_or(Ok(Version::V0x13), Version::try_from)?;
        let (salt, text_of_params) = (Salt::new(salt)?, ParamsString::try_from(&params)?);
        let rest = work_of(&self.params).saturating_sub(work_of(&params));
        let mut memory = Memory::map(params.block_count().max(self.params.block_count()))?;
        let mut output = [0; Output::MAX_LENGTH];
        let length = params.output_len().unwrap_or(Params::DEFAULT_OUTPUT_LEN);
        let output = output.get_mut(..length).ok_or(Error::OutputSize)?;
        Argon2::new(algorithm, version, params).hash_password_into_with_memory(password, &salt, output, &mut memory)?;
        self.spend(rest, &mut memory)?;
        Ok(PasswordHash {
            algorithm: algorithm.ident(),
            version: Some(version.into()),
            params: text_of_params,
            salt: Some(salt),
            hash: Some(Output::new(output)?),
        })
    }
}

impl Argon2Hasher {
    /// Works so much for nothing.
    fn spend(&self, work: u64, memory: &mut Memory) -> Result<()> {
        // As few passes as the memory allows, over as much of it as is needed: what is in the processor's caches is quicker.
        let whole = self.params.block_count() as u64;
        let passes = work.div_ceil(whole * FIRST_PASS).max(1);
        let passes = (1..=passes).find(|passes| work / work_of_a_block(*passes) <= whole).unwrap_or(passes);
        let blocks = work / work_of_a_block(passes);
        if blocks < u64::from(Params::MIN_M_COST) {
            return Ok(());
        }
        let [memory_kib, passes] = [blocks, passes].map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        let filling = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(memory_kib, passes, 1, None)?);
        Ok(filling.hash_password_into_with_memory(&[], &[0; 16], &mut [0; Params::DEFAULT_OUTPUT_LEN], memory)?)
    }
}

/// What filling a block takes in the first pass, and in each one after it, which reads what was there before. Their proportion matters.
const FIRST_PASS: u64 = 10;
const LATER_PASS: u64 = 15;

fn work_of_a_block(passes: u64) -> u64 {
    FIRST_PASS + LATER_PASS * passes.saturating_sub(1)
}

/// What takes a hash its time.
fn work_of(params: &Params) -> u64 {
    params.block_count() as u64 * work_of_a_block(params.t_cost().into())
}

/// The memory of one hash. Dropped, it is the operating system's again.
struct Memory(MmapMut);

impl Memory {
    fn map(blocks: usize) -> Result<Self> {
        let bytes = blocks.checked_mul(Block::SIZE).ok_or(argon2::Error::MemoryTooMuch)?;
        // All pages at once: a hash touches each of them.
        let mapped = MmapOptions::new().len(bytes).populate().map_anon();
        Ok(Self(mapped.map_err(|_| argon2::Error::OutOfMemory)?))
    }
}

impl AsMut<[Block]> for Memory {
    #[expect(unsafe_code, reason = "argon2 has no safe way to blocks in memory of one's own")]
    fn as_mut(&mut self) -> &mut [Block] {
        // SAFETY: a block is an array of u64, so any bytes are one. A page begins at a multiple of what a block is aligned to: all of the
        // memory is in the middle part, and were it not, argon2 would refuse what is too little.
        let (_, blocks, _) = unsafe { self.0.align_to_mut::<Block>() };
        blocks
    }
}

#[cfg(test)]
mod tests {
    use argon2::password_hash::PasswordVerifier;

    use super::*;

    /// Bytes of this process that are in memory and of no file.
    #[cfg(target_os = "linux")]
    fn resident_kib() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches("kB").trim().parse().unwrap()
    }

    #[test]
    fn it_hashes_and_compares_as_argon2_does_whatever_the_algorithm_version_and_cost() {
        let params = Params::new(32, 2, 1, None).unwrap();
        let (ours, theirs) = (Argon2Hasher::new(params.clone()), Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone()));
        let salt = b"sixteen byte salt";
        let hash = ours.hash_password_with_salt(b"a password", salt).unwrap();
        assert_eq!(hash.to_string(), theirs.hash_password_with_salt(b"a password", salt).unwrap().to_string());
        for algorithm in [Algorithm::Argon2d, Algorithm::Argon2i, Algorithm::Argon2id] {
            for version in [Version::V0x10, Version::V0x13] {
                let other = Argon2::new(algorithm, version, Params::new(64, 3, 2, Some(24)).unwrap());
                let hash = other.hash_password_with_salt(b"a password", salt).unwrap();
                assert!(ours.verify_password(b"a password", &hash).is_ok(), "{hash}");
                assert!(ours.verify_password(b"another password", &hash).is_err(), "{hash}");
            }
        }
    }

    /// Processor time of this thread that a comparison takes: what others do meanwhile doesn't count.
    #[cfg(target_os = "linux")]
    fn time_of(hasher: &Argon2Hasher, stored: &PasswordHash) -> u64 {
        let now = || -> u64 {
            let spent_ns = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
            spent_ns.split(' ').next().unwrap().parse().unwrap()
        };
        let before = now();
        hasher.verify_password(b"another password", stored).unwrap_err();
        now() - before
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_hash_that_was_made_with_less_takes_as_long_to_compare() {
        const TURNS: u32 = 15;
        const MOST_TURNS: u32 = 300;
        const ALIKE: std::ops::Range<f64> = 0.8..1.25;
        let hasher = Argon2Hasher::new(Params::new(19_456, 3, 1, None).unwrap());
        let made_with = |memory_kib, passes| {
            let other = Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(memory_kib, passes, 1, None).unwrap());
            other.hash_password_with_salt(b"a password", b"sixteen byte salt").unwrap()
        };
        let live = made_with(19_456, 3);
        for (memory_kib, passes) in [(19_456, 2), (19_456, 1), (18_000, 3), (12_288, 3), (7_168, 5), (32, 1)] {
            let old = made_with(memory_kib, passes);
            // In turns, since what others do slows memory down; the quickest of each, since nothing speeds it up. Where much else goes on,
            // it takes many turns until each has had a quiet one.
            let (mut quickest, mut ratio) = ([u64::MAX; 2], 0.0);
            for turn in 0..MOST_TURNS {
                quickest = std::array::from_fn(|which| time_of(&hasher, [&old, &live][which]).min(quickest[which]));
                ratio = quickest[0] as f64 / quickest[1] as f64;
                if turn >= TURNS && ALIKE.contains(&ratio) {
                    break;
                }
            }
            println!("{memory_kib} KiB, {passes} passes: {ratio:.2} of what hashing takes now");
            assert!(ALIKE.contains(&ratio), "{memory_kib} KiB, {passes} passes: {ratio} of what hashing takes now");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_memory_of_a_hash_is_the_systems_again() {
        const KIB: u64 = 128 << 10;
        let hasher = Argon2Hasher::new(Params::new(u32::try_from(KIB).unwrap(), 1, 1, None).unwrap());
        let before = resident_kib();
        for _ in 0..2 {
            hasher.hash_password_with_salt(b"a password", b"sixteen byte salt").unwrap();
        }
        let kept = resident_kib().saturating_sub(before);
        assert!(kept < KIB / 2, "{kept} KiB are kept");
    }
}
