#include "vp/wire.h"

int vp_deframer_push(vp_deframer *deframer, uint8_t byte)
{
    if (byte == 0u) {
        const int overflow = deframer->overflow;
        const int size = deframer->size;
        deframer->overflow = 0;
        deframer->size = 0;
        return overflow ? VP_WIRE_SHORT : size;
    }
    if (deframer->size >= VP_WIRE_MAX_FRAME - 1) {
        deframer->overflow = 1;
        return 0;
    }
    deframer->frame[deframer->size++] = byte;
    return 0;
}
