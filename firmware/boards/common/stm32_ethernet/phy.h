/**
 * @file phy.h
 * The PHY behind the MAC, by the registers that IEEE 802.3 clause 22 gives every PHY.
 */
#ifndef VP_STM32_PHY_H
#define VP_STM32_PHY_H

#include <stdint.h>

/** A link, in bits: VP_PHY_UP, and what both sides agreed on. 0: none. */
#define VP_PHY_UP 1u
#define VP_PHY_FULL_DUPLEX 2u
#define VP_PHY_100_MBIT 4u

/** Looks at the 32 addresses for a PHY, 2 ms at most, and gets ready to reset the first that it finds:
 *  its address depends on the board's straps. @return 0, or -1 if there is none. */
int vp_phy_start(void);

/** Goes on with whatever the PHY needs next, without waiting: resets it, has it negotiate, and from
 *  then on looks ten times a second whether there is a link. A link that has another speed than the
 *  last one was down in between. @return the link as far as it is known. */
unsigned vp_phy_poll(uint64_t now_us);

#endif
