// A Raspberry Pi Pico in rp2040js (npm install rp2040js), its UART 0 on a TCP port:
//
//     node rp2040.js PORT FILE@ADDRESS ...
//
// rp2040js has neither boot ROM nor flash controller. What the firmware asks of the ROM is done here:
// it starts a second stage with a good checksum, and erases and programs the flash. SIGUSR1 takes the
// power away and gives it back. An unaligned access ends the run, as would be the core's fault.
'use strict'
const fs = require('fs')
const net = require('net')
const { RP2040, BasePeripheral } = require('rp2040js')

const FLASH = 0x10000000
const FLASH_SIZE = 2 << 20
const SECOND_STAGE = 0x20041f00 // Where the ROM runs it, its own stack below.
const ROM_FUNCTION_TABLE = 0x100
const ROM_LOOKUP = 0x40
const ROM_FUNCTIONS = 0x80
const ERASE_NS = 45e6 // W25Q16JV, as a rule.
const BYTE_NS = 1e9 / 11520
const CHIP_RESET_POWER_ON = 0x100
const ALL_RESETS = 0x1ffffff

function fail(text) {
  console.error(text)
  process.exit(1)
}

const [port, ...parts] = process.argv.slice(2)
const mcu = new RP2040()
const core = mcu.core
mcu.logger = { debug() {}, info() {}, warn() {}, error: (name, text) => fail(`${name}: ${text}`) }

for (const [name, mask] of Object.entries({ readUint32: 3, readUint16: 1, writeUint32: 3, writeUint16: 1 })) {
  const access = mcu[name].bind(mcu)
  mcu[name] = (address, value) => {
    if (address & mask) fail(`${name} at ${(address >>> 0).toString(16)}, pc ${core.PC.toString(16)}`)
    return access(address, value)
  }
}

class ChipReset extends BasePeripheral {
  readUint32(offset) {
    return offset === 8 ? CHIP_RESET_POWER_ON : 0
  }
}
mcu.peripherals[0x40064] = new ChipReset(mcu, 'CHIP_RESET')
const resets = mcu.peripherals[0x4000c]
Object.defineProperty(resets, 'reset_done', { get: () => ~resets.reset & ALL_RESETS, set() {} })

// WFI with interrupts off ends with any interrupt, also one from before it, and takes none.
const check = core.checkForInterrupts.bind(core)
core.checkForInterrupts = () => {
  if (!core.waiting || !core.PM) return check()
  if (core.pendingInterrupts & core.enabledInterrupts || core.pendingSystick) {
    core.waiting = false
    core.interruptsUpdated = true
  }
  return false
}

// The boot ROM's functions, called at addresses that hold no code.
const rom = {
  IF() {},
  EX() {},
  FC() {},
  RE(at, size) {
    mcu.flash.fill(0xff, at, at + size)
    mcu.clock.tick(ERASE_NS)
  },
  RP(at, data, size) {
    for (let i = 0; i < size; i++) mcu.flash[at + i] &= mcu.readUint8(data + i)
  },
}
const names = Object.keys(rom)

function callRom() {
  const [a, b, c] = core.registers
  if (core.PC === ROM_LOOKUP) {
    const index = names.indexOf(String.fromCharCode(b & 255, b >> 8))
    core.registers[0] = index < 0 ? 0 : (ROM_FUNCTIONS + 4 * index) | 1
  } else {
    const name = names[(core.PC - ROM_FUNCTIONS) / 4]
    if (name === undefined) fail(`the firmware runs at ${core.PC.toString(16)}`)
    rom[name](a, b, c)
  }
  core.PC = core.LR & ~1
}

function checksum(bytes) {
  let crc = 0xffffffff
  for (const byte of bytes) {
    crc ^= byte << 24
    for (let i = 0; i < 8; i++) crc = (crc << 1) ^ (crc < 0 ? 0x04c11db7 : 0)
  }
  return crc >>> 0
}

function reset() {
  const stage = mcu.flash.slice(0, 256)
  if (checksum(stage.slice(0, 252)) !== mcu.flashView.getUint32(252, true)) fail('no second stage')
  mcu.sram.set(stage, SECOND_STAGE - 0x20000000)
  core.PM = core.waiting = core.pendingSystick = false
  core.IPSR = core.currentMode = core.pendingInterrupts = core.enabledInterrupts = 0
  mcu.ppb.reset()
  core.SP = core.PC = SECOND_STAGE
  core.LR = 0
}

function powerOn() {
  mcu.sram.fill(0)
  resets.reset = ALL_RESETS
  reset()
}

// The core alone: the peripherals stay as they are.
const write = mcu.ppb.writeUint32.bind(mcu.ppb)
mcu.ppb.writeUint32 = (offset, value) => {
  if (offset !== 0xd0c) write(offset, value)
  else if (value >>> 0 === 0x05fa0004) reset()
}
mcu.peripherals[0x40058].onWatchdogTrigger = () => {
  resets.reset = ALL_RESETS
  reset()
}

let socket = null
let sent = []
const coming = []
let next = 0
mcu.uart[0].onByte = (byte) => sent.push(byte)
net
  .createServer((peer) => {
    socket = peer
    peer.on('data', (data) => coming.push(...data))
    peer.on('error', () => {})
    peer.on('close', () => (socket = socket === peer ? null : socket))
  })
  .listen(Number(port), '127.0.0.1')

// A byte as it takes on the line; what finds the FIFO full is lost.
function receive() {
  if (!coming.length || mcu.clock.nanos < next) return
  next = Math.max(next, mcu.clock.nanos - BYTE_NS) + BYTE_NS
  const byte = coming.shift()
  if (!mcu.uart[0].rxFIFO.full) mcu.uart[0].feedByte(byte)
}

function step() {
  receive()
  if (core.waiting) core.checkForInterrupts()
  if (core.waiting) {
    mcu.clock.tick(Math.min(mcu.clock.nanosToNextAlarm, coming.length ? BYTE_NS : 1e6))
  } else if (core.PC < 0x4000) {
    callRom()
  } else {
    mcu.clock.tick((core.executeInstruction() * 1e9) / mcu.clkSys)
  }
}

// Slower than a Pico while it computes, never faster while it waits.
let ahead = Date.now()
function run() {
  const until = Date.now() + 20
  do {
    if (core.waiting && mcu.clock.nanos / 1e6 > Date.now() - ahead) break
    for (let i = 0; i < 2000 && !(core.waiting && mcu.clock.nanos / 1e6 > Date.now() - ahead); i++) step()
  } while (Date.now() < until)
  ahead = Math.max(ahead, Date.now() - mcu.clock.nanos / 1e6)
  if (socket && sent.length) socket.write(Buffer.from(sent))
  sent = []
  setTimeout(run, core.waiting ? 2 : 0)
}

mcu.bootrom.fill(0)
mcu.bootrom[0x14 / 4] = ROM_FUNCTION_TABLE
mcu.bootrom[0x18 / 4] = ROM_LOOKUP | 1
for (const part of parts) {
  const [file, address] = part.split('@')
  mcu.flash.set(fs.readFileSync(file), Number(address) - FLASH)
}
mcu.flash.fill(0, FLASH_SIZE)
process.on('SIGUSR1', powerOn)
process.on('SIGTERM', () => process.exit(0))
powerOn()
run()
