//! (see the module list in ARCHITECTURE.md)
