//! FP8 precision policies, calibration tables and error measures.
//!
//! ```
//! use bernini_calibration::{Numbers, Policy};
//!
//! let policy = Policy::named("default").unwrap();
//! let layers = 40;
//! assert_eq!(policy.numbers("transformer", "blocks.2.attn1.to_q", layers), Numbers::Bf16);
//! assert_eq!(policy.numbers("transformer", "blocks.3.attn1.to_q", layers), Numbers::Fp8);
//! ```

pub mod balance;
pub mod centering;
mod choice;
pub mod e4m3;
pub mod error;
pub mod fp8_attention;
mod groups;
mod pattern;
mod policy;
pub mod search;
mod ssim;
mod table;

pub use choice::{DEFAULT_PERCENTILE, Method, Sums};
pub use policy::{Numbers, Policy, PolicyError, Rule};
pub use table::{Amax, AttentionAmax, CalibrationTable, E4M3_MAX, TABLE_SCHEMA, TableError};
