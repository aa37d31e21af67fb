#include "vp/wire.h"

#define WINDOW 64u

int vp_replay_accept(vp_replay *replay, uint64_t counter)
{
    if (counter > replay->highest) {
        const uint64_t rise = counter - replay->highest;
        replay->seen = rise < WINDOW ? replay->seen << rise : 0u;
        replay->seen |= 1u;
        replay->highest = counter;
        return VP_WIRE_OK;
    }
    const uint64_t age = replay->highest - counter;
    if (age >= WINDOW || ((replay->seen >> age) & 1u) != 0u) {
        return VP_WIRE_REPLAYED;
    }
    replay->seen |= (uint64_t)1 << age;
    return VP_WIRE_OK;
}
