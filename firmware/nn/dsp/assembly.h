/** For functions that are one piece of assembly. */
#ifndef VP_NN_DSP_ASSEMBLY_H
#define VP_NN_DSP_ASSEMBLY_H

/* The compiler sees no use of the parameters, nor what the assembly reads and writes: callers must
 * not be optimized by what it sees. */
#if defined(__clang__)
#define VP_NN_DSP_ASSEMBLY __attribute__((naked, noinline))
#else
#define VP_NN_DSP_ASSEMBLY __attribute__((naked, noipa))
#endif

#define VP_NN_DSP_UNUSED __attribute__((unused))

#endif
