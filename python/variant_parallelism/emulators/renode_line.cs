// A board's UART in Renode as a raw TCP server on the loopback interface, for one client at a time.
// Renode's own server listens on every interface and spins for 60 ms after each byte, which two
// nodes that report five times a second already feel. Renode compiles this file when it starts.
using System;
using System.Collections.Generic;
using System.Net;
using System.Net.Sockets;
using System.Threading;
using Antmicro.Renode.Core;
using Antmicro.Renode.Core.Structure;
using Antmicro.Renode.Exceptions;
using Antmicro.Renode.Peripherals;
using Antmicro.Renode.Peripherals.UART;
using Antmicro.Renode.Time;

namespace VariantParallelism
{
    public static class SocketLineExtensions
    {
        public static void CreateSocketLine(this Emulation emulation, string name, int port)
        {
            emulation.ExternalsManager.AddExternal(new SocketLine(port), name);
        }
    }

    // What the board sends while nobody is connected is lost, as on a wire.
    public class SocketLine : IExternal, IConnectable<IUART>, IDisposable
    {
        public SocketLine(int port)
        {
            listener = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            try
            {
                listener.Bind(new IPEndPoint(IPAddress.Loopback, port));
                listener.Listen(1);
            }
            catch(SocketException e)
            {
                listener.Close();
                throw new RecoverableException(e.Message);
            }
            Start(Serve);
            Start(Transmit);
        }

        public void AttachTo(IUART uart)
        {
            lock(sync)
            {
                if(plug != null)
                {
                    throw new RecoverableException("the line is connected already");
                }
                plug = uart;
                machine = uart.GetMachine();
                uart.CharReceived += Queue;
            }
        }

        public void DetachFrom(IUART uart)
        {
            lock(sync)
            {
                if(plug == uart)
                {
                    uart.CharReceived -= Queue;
                    plug = null;
                }
            }
        }

        public void Dispose()
        {
            lock(sync)
            {
                closed = true;
                Monitor.PulseAll(sync);
                if(client != null)
                {
                    client.Close();
                }
            }
            listener.Close();
        }

        private static void Start(ThreadStart body)
        {
            new Thread(body) { IsBackground = true, Name = "SocketLine" }.Start();
        }

        private void Queue(byte value)
        {
            lock(sync)
            {
                if(client != null)
                {
                    waiting.Add(value);
                    Monitor.PulseAll(sync);
                }
            }
        }

        private void Transmit()
        {
            while(true)
            {
                byte[] data;
                Socket to;
                lock(sync)
                {
                    while(waiting.Count == 0 && !closed)
                    {
                        Monitor.Wait(sync);
                    }
                    if(closed)
                    {
                        return;
                    }
                    data = waiting.ToArray();
                    waiting.Clear();
                    to = client;
                }
                try
                {
                    if(to != null)
                    {
                        to.Send(data);
                    }
                }
                catch(SocketException)
                {
                    // Serve() notices that the client has gone.
                }
                catch(ObjectDisposedException)
                {
                }
            }
        }

        private void Serve()
        {
            var buffer = new byte[4096];
            while(!closed)
            {
                try
                {
                    var accepted = listener.Accept();
                    accepted.NoDelay = true;
                    lock(sync)
                    {
                        client = accepted;
                    }
                    int size;
                    while((size = accepted.Receive(buffer)) > 0)
                    {
                        Deliver(buffer, size);
                    }
                }
                catch(SocketException)
                {
                }
                catch(ObjectDisposedException)
                {
                    return;
                }
                Drop();
            }
        }

        private void Drop()
        {
            lock(sync)
            {
                if(client != null)
                {
                    client.Close();
                    client = null;
                }
                waiting.Clear();
            }
        }

        private void Deliver(byte[] buffer, int size)
        {
            var data = new byte[size];
            Array.Copy(buffer, data, size);
            lock(sync)
            {
                if(plug != null)
                {
                    var now = new TimeStamp(default(TimeInterval), EmulationManager.ExternalWorld);
                    machine.HandleTimeDomainEvent(WriteToUart, data, now);
                }
            }
        }

        private void WriteToUart(byte[] data)
        {
            var uart = plug;
            if(uart != null)
            {
                foreach(var value in data)
                {
                    uart.WriteChar(value);
                }
            }
        }

        private IUART plug;
        private IMachine machine;
        private Socket client;
        private volatile bool closed;
        private readonly Socket listener;
        private readonly List<byte> waiting = new List<byte>();
        private readonly object sync = new object();
    }
}
