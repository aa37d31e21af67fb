// The cable between a board's Ethernet in Renode and a UDP socket of this machine: one datagram is
// one frame without FCS, as with QEMU's `-netdev dgram`. Renode compiles this file when it starts.
using System;
using System.Net;
using System.Net.Sockets;
using System.Threading;
using Antmicro.Renode.Core;
using Antmicro.Renode.Core.Structure;
using Antmicro.Renode.Exceptions;
using Antmicro.Renode.Network;
using Antmicro.Renode.Peripherals;
using Antmicro.Renode.Peripherals.Network;
using Antmicro.Renode.Time;

namespace VariantParallelism
{
    public static class DatagramCableExtensions
    {
        // Binds 127.0.0.1:port; frames go to and come from 127.0.0.1:peerPort.
        public static void CreateDatagramCable(
            this Emulation emulation, string name, int port, int peerPort)
        {
            emulation.ExternalsManager.AddExternal(new DatagramCable(port, peerPort), name);
        }
    }

    public class DatagramCable : IExternal, IConnectable<IMACInterface>, IDisposable
    {
        public DatagramCable(int port, int peerPort)
        {
            peer = new IPEndPoint(IPAddress.Loopback, peerPort);
            socket = new Socket(AddressFamily.InterNetwork, SocketType.Dgram, ProtocolType.Udp);
            socket.ExclusiveAddressUse = true;
            try
            {
                socket.Bind(new IPEndPoint(IPAddress.Loopback, port));
            }
            catch(SocketException e)
            {
                socket.Close();
                throw new RecoverableException(e.Message);
            }
            var thread = new Thread(Receive) { IsBackground = true, Name = "DatagramCable" };
            thread.Start();
        }

        public void AttachTo(IMACInterface iface)
        {
            lock(sync)
            {
                if(plug != null)
                {
                    throw new RecoverableException("the cable is plugged in already");
                }
                plug = iface;
                machine = ((IPeripheral)iface).GetMachine();
                iface.FrameReady += Send;
            }
        }

        public void DetachFrom(IMACInterface iface)
        {
            lock(sync)
            {
                if(plug == iface)
                {
                    iface.FrameReady -= Send;
                    plug = null;
                }
            }
        }

        public void Dispose()
        {
            socket.Close();
        }

        private void Send(EthernetFrame frame)
        {
            try
            {
                socket.SendTo(frame.UnderlyingPacket.Bytes, peer);
            }
            catch(SocketException)
            {
                // Nobody listens at the other end: the frame is lost, as on a wire.
            }
            catch(ObjectDisposedException)
            {
            }
        }

        private void Receive()
        {
            var buffer = new byte[65536];
            while(true)
            {
                EndPoint source = new IPEndPoint(IPAddress.Any, 0);
                int size;
                try
                {
                    size = socket.ReceiveFrom(buffer, ref source);
                }
                catch(SocketException e)
                {
                    // Linux reports on a UDP socket that an earlier datagram found no listener.
                    if(e.SocketErrorCode == SocketError.ConnectionRefused
                        || e.SocketErrorCode == SocketError.ConnectionReset)
                    {
                        continue;
                    }
                    return;
                }
                catch(ObjectDisposedException)
                {
                    return;
                }
                if(source.Equals(peer))
                {
                    Deliver(buffer, size);
                }
            }
        }

        private void Deliver(byte[] buffer, int size)
        {
            var data = new byte[Math.Max(size, ShortestFrame)];
            Array.Copy(buffer, data, size);
            if((data[0] & 1) != 0)
            {
                // Up to 1.16, the model of the STM32's MAC drops every group but broadcast.
                for(var i = 0; i < 6; i++)
                {
                    data[i] = 0xFF;
                }
            }
            EthernetFrame frame;
            if(size < HeaderSize || !EthernetFrame.TryCreateEthernetFrame(data, true, out frame))
            {
                return;
            }
            lock(sync)
            {
                if(plug != null)
                {
                    var now = new TimeStamp(default(TimeInterval), EmulationManager.ExternalWorld);
                    machine.HandleTimeDomainEvent(plug.ReceiveFrame, frame, now);
                }
            }
        }

        private IMACInterface plug;
        private IMachine machine;
        private readonly IPEndPoint peer;
        private readonly Socket socket;
        private readonly object sync = new object();

        private const int HeaderSize = 14;
        // Senders pad to 60 bytes (IEEE 802.3), but for the frames that a test cuts short.
        private const int ShortestFrame = 60;
    }
}
