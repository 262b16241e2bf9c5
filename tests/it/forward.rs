//! The forward proxy: hosts that are served here, hosts that are passed through, and everything else.

mod intercept;
mod refuse;
mod rig;
mod tunnel;
