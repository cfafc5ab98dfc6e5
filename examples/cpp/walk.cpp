// Walk a world from C++, as an engine's plugin would: open, walk by script and by hand, have something happen, take frames
// with their cameras in the engine's axes, keep a picture, close.
//
//   keepworld serve &
//   walk 127.0.0.1:7600 --axes unity --png last.png      or grpcs://host:port, with KEEPWORLD_API_KEY
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>

#include "keepworld/axes.hpp"
#include "keepworld/v1/status.pb.h"
#include "keepworld/v1/world_service.grpc.pb.h"

namespace v1 = keepworld::v1;

struct Options {
  std::string server = "127.0.0.1:7600", axes = "unity", png = "last.png", prompt = "a village with a windmill by a lake";
  unsigned width = 384, height = 216, chunks = 6;
  bool fast = false;  // as fast as frames are made, instead of by the clock
};

// A UUID: asked again with the same one, a server gives the same answer instead of a second world.
static std::string new_id() {
  std::random_device random;
  char id[37];
  const auto word = [&] { return static_cast<unsigned>(random()); };
  std::snprintf(id, sizeof id, "%08x-%04x-4%03x-%04x-%08x%04x", word(), word() & 0xffff, word() & 0xfff,
                0x8000 | (word() & 0x3fff), word(), word() & 0xffff);
  return id;
}

// Throws with what the server said, the field it did not like, and its reason: a stable word such as WORLD_CAPACITY.
static void check(const grpc::Status& status, const grpc::ClientContext& context, const std::string& what) {
  if (status.ok()) return;
  std::string reason, field;
  const auto& trailers = context.GetServerTrailingMetadata();
  if (const auto at = trailers.find("grpc-status-details-bin"); at != trailers.end()) {
    v1::ErrorStatus details;
    details.ParseFromString(std::string(at->second.data(), at->second.size()));
    for (const auto& detail : details.details()) {
      const std::string kind = detail.type_url().substr(detail.type_url().rfind('/') + 1);
      v1::ErrorReason info;
      v1::FieldViolations bad;
      if (kind == "google.rpc.ErrorInfo" && info.ParseFromString(detail.value())) reason = " [" + info.reason() + "]";
      if (kind == "google.rpc.BadRequest" && bad.ParseFromString(detail.value()) && bad.field_violations_size())
        field = bad.field_violations(0).field() + " ";
    }
  }
  throw std::runtime_error(what + ": " + field + status.error_message() + reason);
}

class World {
 public:
  explicit World(const std::string& address) {
    const bool encrypted = address.rfind("grpcs://", 0) == 0;
    const auto target = address.substr(address.find("://") == std::string::npos ? 0 : address.find("://") + 3);
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(32 << 20);  // one frame a message: raw 1080p with depth is 19 MB at most
    arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
    stub_ = v1::WorldService::NewStub(grpc::CreateCustomChannel(
        target, encrypted ? grpc::SslCredentials({}) : grpc::InsecureChannelCredentials(), arguments));
  }

  ~World() {  // a session that nobody closes would be kept for a while
    if (session_.session_id().empty()) return;
    v1::CloseSessionRequest request;
    request.set_session_id(session_.session_id());
    request.set_token(token_);
    v1::CloseSessionResponse response;
    grpc::ClientContext context;
    prepare(context, 10);
    if (stub_->CloseSession(&context, request, &response).ok())
      std::printf("closed after %llu frames\n", static_cast<unsigned long long>(response.session().frames()));
  }

  void open(const Options& options) {
    v1::CreateSessionRequest request;
    request.set_request_id(new_id());
    request.set_family("diorama");
    request.set_prompt(options.prompt);
    request.set_seed(7);
    request.mutable_size()->set_width(options.width);
    request.mutable_size()->set_height(options.height);
    v1::CreateSessionResponse response;
    grpc::ClientContext context;
    prepare(context, 60);
    check(stub_->CreateSession(&context, request, &response), context, "open");
    session_ = response.session();
    token_ = response.token();
    std::printf("opened: %d words of the prompt understood, %d not\n", response.used_size(), response.ignored_size());
  }

  void walk(const Options& options) {
    const auto& axes = keepworld::axes_named(options.axes);
    const auto mode = options.fast ? v1::PACE_MODE_AS_FAST_AS_POSSIBLE : v1::PACE_MODE_REALTIME;
    grpc::ClientContext context;
    prepare(context, 0);
    const auto stream = stub_->StreamSession(&context);
    send(*stream, [&](auto& request) {
      auto& attach = *request.mutable_attach();
      attach.set_session_id(session_.session_id());
      attach.set_token(token_);
      attach.mutable_config()->set_encoding(v1::IMAGE_ENCODING_PNG);
      attach.mutable_pace()->set_mode(mode);
      attach.mutable_pace()->set_only_scripted(true);  // nothing is made before the script has come
    });
    send(*stream, [&](auto& request) {  // what is known beforehand: a second ahead, half a second looking left
      auto& script = *request.mutable_script();
      script.set_request_id(new_id());
      add_step(script, 24)->mutable_move()->set_forward(1);
      add_step(script, 12)->mutable_turn()->set_yaw(-1);
    });
    v1::StreamSessionResponse response;
    std::string picture;
    bool is_over = false, by_hand = false;
    while (!is_over && stream->Read(&response)) {
      if (response.has_frame()) {
        auto& frame = *response.mutable_frame();
        picture = std::move(*frame.mutable_image()->mutable_data());  // a whole PNG file
        if (frame.index() == 0) show(frame, axes);
      } else if (response.has_chunk_end()) {
        const auto& end = response.chunk_end();
        is_over = end.chunk() + 1 >= options.chunks;
        if (end.chunk() == 1) {
          send(*stream, [&](auto& request) {
            request.mutable_event()->set_request_id(new_id());
            request.mutable_event()->set_text("a thunderstorm rolls in");
            request.mutable_event()->set_ramp_s(1);
          });
        }
      } else if (response.has_notice() && response.notice().kind() == v1::NOTICE_KIND_SCRIPT_DONE) {
        std::printf("the script is done; by hand from here on\n");
        by_hand = true;
        send(*stream, [&](auto& request) { request.mutable_pace()->set_mode(mode); });
      } else if (response.has_receipt() && response.receipt().used_size()) {
        std::printf("the storm comes with chunk %u\n", response.receipt().applies_to_chunk());
      } else if (response.has_refusal()) {
        throw std::runtime_error("refused: " + response.refusal().field() + ": " + response.refusal().message());
      }
      if (by_hand && !response.has_frame()) {  // what hands do now; it holds until another comes, two seconds at most
        send(*stream, [](auto& request) {
          auto& control = *request.mutable_control()->mutable_control();
          control.mutable_move()->set_forward(1);
          control.mutable_turn()->set_yaw(0.5);
        });
      }
    }
    if (is_over) context.TryCancel();
    const auto status = stream->Finish();
    if (!is_over) check(status, context, "walk");
    std::ofstream file(options.png, std::ios::binary);
    if (!file.write(picture.data(), static_cast<std::streamsize>(picture.size())).flush())
      throw std::runtime_error("cannot write " + options.png);
    std::printf("%s: %zu bytes\n", options.png.c_str(), picture.size());
  }

 private:
  using Stream = grpc::ClientReaderWriter<v1::StreamSessionRequest, v1::StreamSessionResponse>;

  static void prepare(grpc::ClientContext& context, int deadline_s) {
    if (const char* key = std::getenv("KEEPWORLD_API_KEY")) context.AddMetadata("authorization", std::string("Bearer ") + key);
    if (deadline_s) context.set_deadline(std::chrono::system_clock::now() + std::chrono::seconds(deadline_s));
  }

  template <typename Fill>
  static void send(Stream& stream, Fill fill) {
    v1::StreamSessionRequest request;
    fill(request);
    stream.Write(request);  // if the stream has ended, Read says so
  }

  static v1::Control* add_step(v1::Script& script, unsigned frames) {
    auto& step = *script.add_steps();
    step.set_frames(frames);
    return step.mutable_control();
  }

  static void show(const v1::Frame& frame, const keepworld::Axes& axes) {
    const auto& q = frame.camera().world_from_camera().rotation();
    const auto& t = frame.camera().world_from_camera().translation();
    const auto pose = keepworld::convert(keepworld::pose_from_wire(q.w(), q.x(), q.y(), q.z(), t.x(), t.y(), t.z()), axes);
    const auto turn = pose.quaternion();
    const auto& k = frame.camera().intrinsics();
    std::printf("chunk %u: camera at (%.3f, %.3f, %.3f), turned (%.3f, %.3f, %.3f, %.3f), %.1f degrees high\n", frame.chunk(),
                pose.position[0], pose.position[1], pose.position[2], turn.x, turn.y, turn.z, turn.w,
                keepworld::fov_degrees(k.height(), k.fy()));
  }

  std::unique_ptr<v1::WorldService::Stub> stub_;
  v1::Session session_;
  std::string token_;
};

static Options read(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const auto value = [&] {
      if (++i >= argc) throw std::invalid_argument(word + " needs a value");
      return std::string(argv[i]);
    };
    if (word == "--axes") options.axes = value();
    else if (word == "--png") options.png = value();
    else if (word == "--prompt") options.prompt = value();
    else if (word == "--chunks") options.chunks = std::stoul(value());
    else if (word == "--fast") options.fast = true;
    else if (word == "--size") {
      if (std::sscanf(value().c_str(), "%ux%u", &options.width, &options.height) != 2)
        throw std::invalid_argument("--size looks like 512x288");
    } else if (word.rfind("--", 0) == 0) throw std::invalid_argument("unknown option " + word);
    else options.server = word;
  }
  keepworld::axes_named(options.axes);
  return options;
}

int main(int argc, char** argv) {
  try {
    const auto options = read(argc, argv);
    World world(options.server);
    world.open(options);
    world.walk(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "walk: %s\n", error.what());
    return 1;
  }
}
