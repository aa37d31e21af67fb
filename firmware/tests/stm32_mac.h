/**
 * @file stm32_mac.h
 * The MAC of an STM32, its DMA, a PHY and a cable, behind the seam of the driver's mac.h: a second
 * statement of RM0090 chapter 33, in the manual's own numbers.
 *
 * The DMA sees of the descriptors what the driver had written at the last barrier, and uses each barrier
 * to go on. Of what was written between two barriers it may see the status first. It is stricter than the
 * chip: out of receive descriptors, it waits for a poll demand.
 */
#ifndef VP_TESTS_STM32_MAC_H
#define VP_TESTS_STM32_MAC_H

#include <stdint.h>
#include <string.h>

#include "check.h"

#define OWN 0x80000000u
#define MAX_DESCRIPTORS 64
#define MAX_FRAMES 64
#define FRAME_ROOM 2048
#define BUS 0x20000000u

/* Whose descriptors the test may count on. */
#define RECEIVE_RING 16

/* Status bits of the DMA. */
#define RBUS 0x80u
#define RS_NIS 0x10040u

typedef struct frame {
    uint8_t bytes[FRAME_ROOM];
    size_t size;
} frame;

typedef struct frames {
    frame frame[MAX_FRAMES];
    unsigned begin;
    unsigned end;
} frames;

/* What becomes of the next frame on its way in. CUT: if the ring ends within it, nothing says so. */
enum fate { GOOD, DAMAGED, RUNT, ENDLESS, CUT };

/* One ring as the DMA sees it. */
typedef struct dma_ring {
    uint32_t begin;
    uint32_t at;
    uint32_t address[MAX_DESCRIPTORS];
    uint32_t seen[MAX_DESCRIPTORS][4];
    unsigned count;
    int suspended;
} dma_ring;

static struct {
    uint32_t registers[0x1100 / 4];
    int dead;             /* Every register reads zero, as where there is no such chip. */
    int clockless;        /* The PHY gives no clock: the reset does not end. */
    unsigned reset_reads;
    uintptr_t memory;
    dma_ring receive;
    dma_ring send;
    int lazy;             /* The DMA does nothing until it is told. */
    int restless;         /* It looks for something to send all the time. */
    frames incoming;      /* On the wire. */
    frames sent;
    enum fate fate;
    unsigned missed;
    unsigned torn;
    unsigned receive_demands;
    unsigned maccr_writes;
    unsigned phy_address;
    uint16_t phy[32];
    unsigned phy_reset_reads;
    unsigned management_reads; /* How long the operation under way stays busy. */
    unsigned status_reads;
    unsigned partner_reads;
    int cable;
    int link_was_lost;
    int rmii;
    int pin;                   /* Of the PHY's reset, and when it went low. */
    uint64_t reset_us;
    unsigned interrupt;
    uint64_t now_us;
} chip;

static inline uint32_t *reg(uint32_t offset)
{
    CHECK(offset % 4u == 0u && offset < sizeof(chip.registers));
    return &chip.registers[offset / 4u];
}

static inline void *memory(uint32_t address)
{
    return (void *)(chip.memory + (address - BUS));
}

static inline uint32_t *descriptor(uint32_t address)
{
    return (uint32_t *)memory(address);
}

uint32_t vp_mac_address(const volatile void *at)
{
    if (chip.memory == 0u) {
        chip.memory = (uintptr_t)at - 0x10000u;
    }
    return BUS + (uint32_t)((uintptr_t)at - chip.memory);
}

static inline void look_at(dma_ring *ring, size_t bytes)
{
    uint32_t address = ring->begin;
    ring->count = 0;
    while (address != 0u && ring->count < MAX_DESCRIPTORS) {
        ring->address[ring->count] = address;
        memcpy(ring->seen[ring->count++], descriptor(address), bytes);
        address = descriptor(address)[3];
        if (address == ring->begin) {
            return;
        }
    }
    CHECK(ring->begin == 0u);
}

/* The descriptor that is next, as it was at the last barrier. */
static inline uint32_t *seen(dma_ring *ring)
{
    for (unsigned i = 0; i < ring->count; i++) {
        if (ring->address[i] == ring->at) {
            return ring->seen[i];
        }
    }
    CHECK(0);
    return ring->seen[0];
}

static inline void finish(dma_ring *ring, uint32_t status)
{
    uint32_t *const copy = seen(ring);
    descriptor(ring->at)[0] = status;
    copy[0] = status;
    ring->at = copy[3];
}

static inline void set_status(uint32_t status)
{
    *reg(0x1014) |= status;
}

/* 33.6.6: one frame and its checksum into the descriptors. @return 0 if there was none for it. */
static inline int store_frame(const frame *in, enum fate fate)
{
    dma_ring *const ring = &chip.receive;
    const uint32_t length = (uint32_t)in->size + 4u;
    uint32_t first = 0x200u;
    uint32_t at = 0;
    if ((seen(ring)[0] & OWN) == 0u) {
        set_status(RBUS | 0x8000u);
        ring->suspended = 1;
        return 0;
    }
    for (;;) {
        const uint32_t *const now = seen(ring);
        const uint32_t room = now[1] & 0x1fffu;
        const uint32_t bytes = length - at < room ? length - at : room;
        CHECK((now[1] & 0x4000u) != 0u && (now[1] & 0x8000u) == 0u && room % 4u == 0u && room != 0u);
        for (uint32_t i = 0; i < bytes; i++) {
            ((uint8_t *)memory(now[2]))[i] = at + i < in->size ? in->bytes[at + i] : 0xfcu;
        }
        at += bytes;
        uint32_t next[4];
        memcpy(next, descriptor(now[3]), 16);
        if (at == length) {
            const uint32_t shown = fate == RUNT ? 4u : length;
            finish(ring, first | (fate == ENDLESS ? 0u : 0x100u) | (fate == DAMAGED ? 0x8002u : 0u) |
                            shown << 16);
            return 1;
        }
        const uint32_t here = ring->at;
        finish(ring, first);
        first = 0;
        if ((seen(ring)[0] & OWN) == 0u) {
            /* Truncated: descriptor error, or (as Renode leaves it) no end at all. */
            if (fate != CUT) {
                descriptor(here)[0] |= 0xC100u | at << 16;
            }
            set_status(RBUS | 0x8000u);
            ring->suspended = 1;
            return 1;
        }
    }
}

/* 33.5.2: what passes the filter. */
static inline int is_for_us(const uint8_t *bytes)
{
    static const uint8_t broadcast[6] = {255, 255, 255, 255, 255, 255};
    const uint32_t high = *reg(0x40);
    const uint32_t low = *reg(0x44);
    const uint8_t own[6] = {(uint8_t)low, (uint8_t)(low >> 8), (uint8_t)(low >> 16),
                            (uint8_t)(low >> 24), (uint8_t)high, (uint8_t)(high >> 8)};
    const uint32_t filter = *reg(0x04);
    CHECK((filter & 0x80000021u) == 0u);
    return memcmp(bytes, own, 6) == 0 || memcmp(bytes, broadcast, 6) == 0 ||
           ((bytes[0] & 1u) != 0u && (filter & 0x10u) != 0u);
}

static inline void run_receive(void)
{
    while (chip.incoming.begin != chip.incoming.end && (*reg(0x1018) & 2u) != 0u) {
        const frame *const in = &chip.incoming.frame[chip.incoming.begin++ % MAX_FRAMES];
        if ((*reg(0x00) & 4u) == 0u || !is_for_us(in->bytes)) {
            continue;
        }
        if (chip.receive.suspended || !store_frame(in, chip.fate)) {
            chip.missed++;
        } else {
            set_status(RS_NIS);
        }
    }
}

/* 33.6.5. */
static inline void run_send(void)
{
    dma_ring *const ring = &chip.send;
    size_t size = 0;
    if ((*reg(0x1018) & 0x2000u) == 0u || ring->count == 0u) {
        return;
    }
    while (!ring->suspended) {
        const uint32_t *const now = seen(ring);
        frame *const out = &chip.sent.frame[chip.sent.end % MAX_FRAMES];
        if ((now[0] & OWN) == 0u) {
            chip.torn += size != 0u;
            set_status(4u);
            ring->suspended = 1;
            return;
        }
        const uint32_t bytes = now[1] & 0x1fffu;
        const int last = (now[0] & 0x20000000u) != 0u;
        CHECK((now[0] & 0x00f00000u) == 0x00100000u); /* Chained, no ring end, no checksums. */
        CHECK(((now[0] & 0x10000000u) != 0u) == (size == 0u) && bytes != 0u);
        memcpy(out->bytes + size, memory(now[2]), bytes);
        size += bytes;
        finish(ring, now[0] & ~OWN);
        if (last) {
            out->size = size;
            chip.sent.end++;
            size = 0;
            set_status(1u);
        }
    }
}

void vp_mac_order(void)
{
    for (size_t bytes = 4; bytes <= 16u; bytes += 12u) {
        look_at(&chip.receive, bytes);
        look_at(&chip.send, bytes);
        if (!chip.lazy) {
            chip.send.suspended = chip.send.suspended && !chip.restless;
            run_receive();
            run_send();
        }
    }
}

static inline uint16_t phy_read(unsigned number)
{
    if (number == 0u && chip.phy_reset_reads != 0u) {
        chip.phy_reset_reads--;
        return 0x8000u;
    }
    if (number == 1u) {
        const int up = chip.cable && !chip.link_was_lost;
        chip.link_was_lost = 0;
        chip.status_reads++;
        return (uint16_t)(chip.phy[1] | (up ? 0x24u : 0u));
    }
    chip.partner_reads += number == 5u;
    return chip.phy[number];
}

static inline void manage(uint32_t value)
{
    const unsigned address = value >> 11 & 31u;
    const unsigned number = value >> 6 & 31u;
    CHECK((value & 0x1cu) == 0x10u && (value & 1u) != 0u);
    chip.management_reads = 3;
    if (address != chip.phy_address) {
        *reg(0x14) = (value & 2u) != 0u ? *reg(0x14) : 0xffffu;
    } else if ((value & 2u) == 0u) {
        *reg(0x14) = phy_read(number);
    } else if (chip.phy_reset_reads == 0u) {
        chip.phy[number] = (uint16_t)*reg(0x14);
        if (number == 0u && (chip.phy[0] & 0x8000u) != 0u) {
            chip.phy[0] = 0;
            chip.phy[4] = 0;
            chip.phy_reset_reads = 5;
        }
    }
}

uint32_t vp_mac_read(uint32_t offset)
{
    if (chip.dead) {
        return 0;
    }
    if (offset == 0x1000u && (*reg(offset) & 1u) != 0u) {
        chip.now_us += 10u;
        if (!chip.clockless && chip.reset_reads-- == 0u) {
            memset(chip.registers, 0, sizeof(chip.registers));
            *reg(0x1000) = 0x20100u;
            *reg(0x00) = 0x8000u;
        }
    }
    if (offset == 0x10u && chip.management_reads != 0u && --chip.management_reads == 0u) {
        *reg(0x10) &= ~1u;
    }
    return *reg(offset);
}

void vp_mac_write(uint32_t offset, uint32_t value)
{
    CHECK(chip.rmii && (chip.management_reads == 0u || (offset != 0x10u && offset != 0x14u)));
    switch (offset) {
    case 0x00:
        chip.maccr_writes++;
        CHECK((value & 0x8000u) != 0u);
        break;
    case 0x10:
        manage(value);
        break;
    case 0x1000:
        chip.reset_reads = 4;
        break;
    case 0x1004:
        CHECK((*reg(0x1014) & 0x24u) == 0u);
        chip.send.suspended = 0;
        if (!chip.lazy) {
            run_send();
        }
        return;
    case 0x1008:
        CHECK((*reg(0x1014) & RBUS) == 0u);
        chip.receive_demands++;
        chip.receive.suspended = 0;
        return;
    case 0x100c:
        memset(&chip.receive, 0, sizeof(chip.receive));
        chip.receive.begin = chip.receive.at = value;
        look_at(&chip.receive, 16);
        break;
    case 0x1010:
        memset(&chip.send, 0, sizeof(chip.send));
        chip.send.begin = chip.send.at = value;
        look_at(&chip.send, 16);
        break;
    case 0x1014:
        value = *reg(offset) & ~value;
        break;
    default:
        break;
    }
    *reg(offset) = value;
}

#endif
