/**
 * @file reset_record.h
 * What one run leaves for the next in RAM that start-up does not clear.
 */
#ifndef VP_RESET_RECORD_H
#define VP_RESET_RECORD_H

#include <stdint.h>

#include "vp/wire.h"

/** Reads what the last run left, and prepares for a reset without a word; once, by start-up. */
void vp_core_read_reset_record(void);

/** Leaves for the next run why this one ends (enum vp_reset_cause), and what the processor held. */
void vp_core_record_end(uint8_t cause, const vp_fault *fault);

#endif
