// Holds axes.hpp against the golden cameras: axes_test tests/axes/cameras.json
#include "keepworld/axes.hpp"

#include <google/protobuf/struct.pb.h>
#include <google/protobuf/util/json_util.h>

#include <cstdio>
#include <fstream>
#include <iterator>

using google::protobuf::Value;

static int failures = 0;

static void near(double got, double wanted, const std::string& what, double tolerance = 1e-12) {
  if (std::abs(got - wanted) <= tolerance * std::max(1.0, std::abs(wanted))) return;
  std::fprintf(stderr, "%s: got %.17g, wanted %.17g\n", what.c_str(), got, wanted);
  ++failures;
}

static double number(const Value& in, const std::string& name) { return in.struct_value().fields().at(name).number_value(); }

static keepworld::Pose pose_of(const Value& rows) {
  keepworld::Pose pose;
  for (int i = 0; i < 3; ++i) {
    const auto& row = rows.list_value().values(i).list_value();
    for (int j = 0; j < 3; ++j) pose.rotation[i][j] = row.values(j).number_value();
    pose.position[i] = row.values(3).number_value();
  }
  return pose;
}

static void same(const keepworld::Pose& got, const keepworld::Pose& wanted, const std::string& what) {
  for (int i = 0; i < 16; ++i) near(got.matrix()[i], wanted.matrix()[i], what + "[" + std::to_string(i) + "]");
}

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: axes_test cameras.json\n"), 2;
  std::ifstream file(argv[1]);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  Value golden;
  if (!google::protobuf::util::JsonStringToMessage(text, &golden).ok()) return std::fprintf(stderr, "not JSON\n"), 2;
  const auto& all = golden.struct_value().fields();

  int poses = 0;
  for (const auto& camera : all.at("cameras").list_value().values()) {
    const auto& fields = camera.struct_value().fields();
    const auto& there = fields.at("c2w").struct_value().fields();
    const auto ours = pose_of(there.at("opencv"));
    for (const auto& [program, rows] : there) {
      const auto name = program + ", " + fields.at("name").string_value();
      const auto& axes = keepworld::axes_named(program);
      const auto converted = keepworld::convert(ours, axes);
      same(converted, pose_of(rows), name);
      same(keepworld::restore(converted, axes), ours, name + ", and back");
      const auto q = converted.quaternion();  // an engine makes its matrix of it again
      same(keepworld::pose_from_wire(q.w, q.x, q.y, q.z, converted.position[0], converted.position[1],
                                     converted.position[2]),
           converted, name + ", as a quaternion");
      ++poses;
    }
    const auto rotator = keepworld::rotator(keepworld::convert(ours, keepworld::unreal));
    const auto& wanted = fields.at("unreal_rotator_degrees");
    const double turn = std::remainder(rotator.yaw - number(wanted, "yaw"), 360);  // 180 and -180 are one
    near(rotator.pitch, number(wanted, "pitch"), "pitch");
    near(turn, 0, "yaw");
    near(rotator.roll, number(wanted, "roll"), "roll");
  }
  const auto& points = all.at("point").struct_value().fields();
  const auto vector = [](const Value& list) {
    const auto& v = list.list_value();
    return keepworld::Vector{v.values(0).number_value(), v.values(1).number_value(), v.values(2).number_value()};
  };
  for (const auto& [program, wanted] : points) {
    const auto got = keepworld::convert(vector(points.at("opencv")), keepworld::axes_named(program));
    for (int i = 0; i < 3; ++i) near(got[i], vector(wanted)[i], program + " point");
  }
  const auto &k = all.at("intrinsics"), &fov = all.at("fov_degrees");
  near(keepworld::fov_degrees(number(k, "width"), number(k, "fx")), number(fov, "horizontal"), "horizontal fov");
  near(keepworld::fov_degrees(number(k, "height"), number(k, "fy")), number(fov, "vertical"), "vertical fov");
  std::printf("%d poses, %d wrong\n", poses, failures);
  return poses < 6 || failures ? 1 : 0;
}
