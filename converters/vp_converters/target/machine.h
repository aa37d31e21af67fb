/** What the programs here need of the machine they run on. */
#ifndef VP_TARGET_MACHINE_H
#define VP_TARGET_MACHINE_H

#include <stdint.h>

/** A moment of the machine's counter. */
typedef struct vp_target_time {
    uint32_t wraps; /**< Times that the counter started again. */
    uint32_t count; /**< Its value, rising. */
} vp_target_time;

/** Starts the counter. Before that nothing interrupts the program. */
void vp_target_start(void);

vp_target_time vp_target_now(void);

/**
 * Guest instructions between `begin` and now, what reading the clock costs included: that is
 * vp_target_since(vp_target_now()), always the same. 0 on a machine without a counter.
 */
uint64_t vp_target_since(vp_target_time begin);

#endif
