/** Unoptimized code leaves too few registers to the assembly, even in a debug build. */
#ifndef VP_NN_MVE_OPTIMIZE_H
#define VP_NN_MVE_OPTIMIZE_H

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O2")
#endif

#endif
