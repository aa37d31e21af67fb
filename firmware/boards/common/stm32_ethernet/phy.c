#include "phy.h"

#include "mac.h"

/* IEEE 802.3 clause 22.2.4. */
#define BMCR 0u
#define BMCR_RESTART_NEGOTIATION (1u << 9)
#define BMCR_NEGOTIATE (1u << 12)
#define BMCR_RESET (1u << 15)
#define BMSR 1u
#define BMSR_LINK (1u << 2)
#define BMSR_NEGOTIATED (1u << 5)
#define ID1 2u
#define ID2 3u
/* Clause 28.2.4: what this side offers, and the other one. The lowest bit says IEEE 802.3. */
#define ANAR 4u
#define ANLPAR 5u
#define ABLE_802_3 (1u << 0)
#define ABLE_10_HALF (1u << 5)
#define ABLE_10_FULL (1u << 6)
#define ABLE_100_HALF (1u << 7)
#define ABLE_100_FULL (1u << 8)
#define OFFER (ABLE_802_3 | ABLE_10_HALF | ABLE_10_FULL | ABLE_100_HALF | ABLE_100_FULL)

/* LAN8720A and LAN8742A: what they run at, bits 4-2 of the PHY special control and status register. */
#define LAN87XX_ID1 0x0007u
#define LAN87XX_ID2 0xC000u
#define LAN87XX_ID2_MASK 0xFC00u
#define LAN87XX_SPECIAL 31u
#define LAN87XX_100_MBIT (1u << 3)
#define LAN87XX_FULL_DUPLEX (1u << 4)

#define NO_PHY 0xFFFFu /* Nobody drives the line, and its pull-up makes ones. */
#define ADDRESSES 32u
#define ATTEMPTS 10000u /* Turns of four cycles or more; an operation takes 64 clocks, 40 us. */
#define PERIOD_US 100000u

/* The management clock, HCLK divided, at most 2.5 MHz (33.8.1, ETH_MACMIIAR). */
#if VP_BOARD_CLOCK_HZ < 35000000
#define CLOCK_RANGE 2u
#elif VP_BOARD_CLOCK_HZ < 60000000
#define CLOCK_RANGE 3u
#elif VP_BOARD_CLOCK_HZ < 100000000
#define CLOCK_RANGE 0u
#elif VP_BOARD_CLOCK_HZ < 150000000
#define CLOCK_RANGE 1u
#else
#define CLOCK_RANGE 4u
#endif

/* What the answer that comes next, or its absence, is for. */
enum step {
    STEP_RESET,
    STEP_ASK_RESET,
    STEP_RESET_DONE,
    STEP_NEGOTIATE,
    STEP_ASK_LINK,
    STEP_LINK,
    STEP_PARTNER,
    STEP_SPECIAL
};

static struct {
    uint32_t address;
    int is_lan87xx;
    enum step step;
    unsigned link;
    uint64_t asked_us;
} phy;

static void begin(uint32_t address, uint32_t number, uint32_t flags)
{
    vp_mac_write(ETH_MACMIIAR, address << ETH_MACMIIAR_PA_SHIFT | number << ETH_MACMIIAR_MR_SHIFT |
                                   CLOCK_RANGE << ETH_MACMIIAR_CR_SHIFT | flags | ETH_MACMIIAR_MB);
}

static void ask(uint32_t number, enum step next)
{
    begin(phy.address, number, 0);
    phy.step = next;
}

static void tell(uint32_t number, uint32_t value, enum step next)
{
    vp_mac_write(ETH_MACMIIDR, value);
    begin(phy.address, number, ETH_MACMIIAR_MW);
    phy.step = next;
}

static int busy(void)
{
    return (vp_mac_read(ETH_MACMIIAR) & ETH_MACMIIAR_MB) != 0u;
}

static uint32_t answer(void)
{
    return vp_mac_read(ETH_MACMIIDR) & 0xFFFFu;
}

/* For the start alone, while nothing else runs yet. */
static uint32_t read_and_wait(uint32_t address, uint32_t number)
{
    begin(address, number, 0);
    for (unsigned i = 0; i < ATTEMPTS; i++) {
        if (!busy()) {
            return answer();
        }
    }
    return NO_PHY;
}

int vp_phy_start(void)
{
    for (uint32_t address = 0; address < ADDRESSES; address++) {
        const uint32_t id = read_and_wait(address, ID1);
        if (id != NO_PHY && id != 0u) {
            const uint32_t id2 = read_and_wait(address, ID2);
            phy.address = address;
            phy.is_lan87xx = id == LAN87XX_ID1 && (id2 & LAN87XX_ID2_MASK) == LAN87XX_ID2;
            phy.step = STEP_RESET;
            phy.link = 0;
            phy.asked_us = 0;
            return 0;
        }
    }
    return -1;
}

static void set_link(unsigned link)
{
    phy.link = link;
    phy.step = STEP_ASK_LINK;
}

/* The best that both sides can do (clause 28B.3). A partner that does not negotiate shows as the half
 * duplex of its speed. Nothing in common is what a PHY says that does not tell. */
static void take_partner(uint32_t partner)
{
    const uint32_t common = partner & OFFER;
    if ((common & ABLE_100_FULL) != 0u) {
        set_link(VP_PHY_UP | VP_PHY_100_MBIT | VP_PHY_FULL_DUPLEX);
    } else if ((common & ABLE_100_HALF) != 0u) {
        set_link(VP_PHY_UP | VP_PHY_100_MBIT);
    } else if ((common & ABLE_10_FULL) != 0u) {
        set_link(VP_PHY_UP | VP_PHY_FULL_DUPLEX);
    } else if ((common & ABLE_10_HALF) != 0u || !phy.is_lan87xx) {
        set_link(VP_PHY_UP);
    } else {
        ask(LAN87XX_SPECIAL, STEP_SPECIAL);
    }
}

static void take_special(uint32_t special)
{
    set_link(VP_PHY_UP | ((special & LAN87XX_100_MBIT) != 0u ? VP_PHY_100_MBIT : 0u) |
             ((special & LAN87XX_FULL_DUPLEX) != 0u ? VP_PHY_FULL_DUPLEX : 0u));
}

/* A link that was lost for a moment reads as down once (clause 22.2.4.2.13), so that what it runs at is
 * asked for again. */
static void take_status(uint32_t status)
{
    const uint32_t wanted = BMSR_LINK | BMSR_NEGOTIATED;
    if (status == NO_PHY || (status & wanted) != wanted) {
        set_link(0);
    } else if (phy.link == 0u) {
        ask(ANLPAR, STEP_PARTNER);
    } else {
        phy.step = STEP_ASK_LINK;
    }
}

unsigned vp_phy_poll(uint64_t now_us)
{
    if (busy()) {
        return phy.link;
    }
    switch (phy.step) {
    case STEP_RESET:
        tell(BMCR, BMCR_RESET, STEP_ASK_RESET);
        break;
    case STEP_ASK_RESET:
        ask(BMCR, STEP_RESET_DONE);
        break;
    case STEP_RESET_DONE:
        if ((answer() & BMCR_RESET) != 0u) {
            phy.step = STEP_ASK_RESET;
        } else {
            tell(ANAR, OFFER, STEP_NEGOTIATE);
        }
        break;
    case STEP_NEGOTIATE:
        tell(BMCR, BMCR_NEGOTIATE | BMCR_RESTART_NEGOTIATION, STEP_ASK_LINK);
        break;
    case STEP_ASK_LINK:
        if (now_us - phy.asked_us >= PERIOD_US) {
            phy.asked_us = now_us;
            ask(BMSR, STEP_LINK);
        }
        break;
    case STEP_LINK:
        take_status(answer());
        break;
    case STEP_PARTNER:
        take_partner(answer());
        break;
    case STEP_SPECIAL:
        take_special(answer());
        break;
    }
    return phy.link;
}
