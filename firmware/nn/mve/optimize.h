/** For functions whose assembly takes nearly all registers. */
#ifndef VP_NN_MVE_OPTIMIZE_H
#define VP_NN_MVE_OPTIMIZE_H

/* Unoptimized code leaves too few registers, even in a debug build. */
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O2")
#endif

/** Keeps a function, and so its assembly, away from what its callers hold in registers. */
#define VP_NN_MVE_ALONE __attribute__((noinline))

#endif
