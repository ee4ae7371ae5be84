//! End to end, parity with the reference libraries, structure.
