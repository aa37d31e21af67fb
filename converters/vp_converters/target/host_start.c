/* The same program on the host: no start-up, no instruction counter. */
#include "machine.h"

uint32_t vp_target_now(void)
{
    return 0;
}
